// Command tunnel publishes a local TCP service as a lease, on Portal's own SDK.
//
// It prints "ready ID" each time that the relay lists the lease, so also after the relay was away.
package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"
	"time"

	"gosuda.org/portal/portal/core/cryptoops"
	"gosuda.org/portal/sdk"

	"portal-gateway/interop/relaylink"
)

func credential(seed string) (*cryptoops.Credential, error) {
	if seed == "" {
		return cryptoops.NewCredential()
	}
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != ed25519.SeedSize {
		return nil, fmt.Errorf("-seed wants %d bytes in hexadecimal", ed25519.SeedSize)
	}
	return cryptoops.NewCredentialFromPrivateKey(ed25519.NewKeyFromSeed(raw))
}

func main() {
	relay := flag.String("relay", "ws://127.0.0.1:4017/relay", "the relay's URL")
	name := flag.String("name", "", "the lease's name")
	to := flag.String("to", "", "host:port of the local service")
	seed := flag.String("seed", "", "the lease's Ed25519 seed in hexadecimal; a fresh key without it")
	health := flag.Duration("health", 10*time.Second, "pause between checks of the relay")
	reconnect := flag.Duration("reconnect", 5*time.Second, "pause between attempts to come back to the relay")
	flag.Parse()
	log.SetFlags(0)

	cred, err := credential(*seed)
	if err != nil {
		log.Fatal(err)
	}
	client, err := sdk.NewClient(
		sdk.WithBootstrapServers([]string{*relay}),
		sdk.WithHealthCheckInterval(*health),
		sdk.WithReconnectInterval(*reconnect),
		sdk.WithReconnectMaxRetries(0), // for ever: 1.2.0 gives up after 9 otherwise
	)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := client.Listen(cred, *name, []string{"http/1.1"})
	if err != nil {
		log.Fatal(err)
	}
	go relaylink.Watch(*relay, cred.ID(), 100*time.Millisecond, func() { fmt.Println("ready", cred.ID()) })
	for {
		stream, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			service, err := net.Dial("tcp", *to)
			if err != nil {
				stream.Close()
				return
			}
			relaylink.Splice(stream, service)
		}()
	}
}
