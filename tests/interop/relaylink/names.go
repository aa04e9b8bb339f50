package relaylink

import (
	"errors"
	"net"

	"gosuda.org/portal/portal/core/cryptoops"
	"gosuda.org/portal/portal/core/proto/rdverb"
	"gosuda.org/portal/sdk"
)

// named is what an SDK client can do since its directory holds names.
type named interface {
	LookupName(name string) (*rdverb.Lease, error)
}

// LeaseID gives the id of the lease called name; where the SDK knows no names (1.2.0), an error.
func LeaseID(client any, name string) (string, error) {
	directory, ok := client.(named)
	if !ok {
		return "", errors.New("this SDK finds leases by id only")
	}
	lease, err := directory.LookupName(name)
	if err != nil {
		return "", err
	}
	return lease.GetIdentity().GetId(), nil
}

// Dialer opens a session to the relay at url with the SDK and gives what opens a stream to the lease of
// that id, or without an id of that name, which is looked up once.
func Dialer(url, id, name string) (func() (net.Conn, error), error) {
	client, err := sdk.NewClient(sdk.WithBootstrapServers([]string{url}))
	if err != nil {
		return nil, err
	}
	if id == "" {
		if id, err = LeaseID(client, name); err != nil {
			return nil, err
		}
	}
	credential, err := cryptoops.NewCredential()
	if err != nil {
		return nil, err
	}
	return func() (net.Conn, error) { return client.Dial(credential, id, "http/1.1") }, nil
}
