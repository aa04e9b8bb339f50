// Command client reaches a lease on Portal's own SDK: each TCP connection that it accepts becomes one
// stream to the lease, so that any HTTP client can speak through it.
//
// It prints "ready HOST:PORT" when it listens.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"gosuda.org/portal/portal/core/cryptoops"

	"portal-gateway/interop/relaylink"
)

// direct asks the relay for the lease without a look at its directory: how an SDK of 1.2.0, whose
// directory holds ids, reaches a lease of a relay whose directory holds leases.
func direct(relay, id string) (func() (io.ReadWriteCloser, error), error) {
	session, err := relaylink.Dial(context.Background(), relay)
	if err != nil {
		return nil, err
	}
	credential, err := cryptoops.NewCredential()
	if err != nil {
		return nil, err
	}
	return func() (io.ReadWriteCloser, error) {
		code, stream, err := session.RequestConnection(id, "http/1.1", credential)
		if err != nil {
			return nil, err
		}
		if stream == nil {
			return nil, fmt.Errorf("the relay answered %v", code)
		}
		return stream, nil
	}, nil
}

func main() {
	relay := flag.String("relay", "ws://127.0.0.1:4017/relay", "the relay's URL")
	name := flag.String("name", "", "the lease's name")
	id := flag.String("id", "", "the lease's id, instead of its name")
	skip := flag.Bool("direct", false, "do not look the id up in the relay's directory first")
	listen := flag.String("listen", "127.0.0.1:0", "host:port to accept connections on")
	flag.Parse()
	log.SetFlags(0)

	var dial func() (io.ReadWriteCloser, error)
	var err error
	if *skip {
		dial, err = direct(*relay, *id)
	} else {
		var open func() (net.Conn, error)
		open, err = relaylink.Dialer(*relay, *id, *name)
		dial = func() (io.ReadWriteCloser, error) { return open() }
	}
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			stream, err := dial()
			if err != nil {
				log.Print(err)
				connection.Close()
				return
			}
			relaylink.Splice(connection, stream)
		}()
	}
}
