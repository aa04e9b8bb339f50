// Command client reaches a lease on Portal's own SDK: each TCP connection that it accepts becomes one
// stream to the lease, so that any HTTP client can speak through it.
//
// It prints "ready HOST:PORT" when it listens.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"

	"portal-gateway/interop/relaylink"
)

func main() {
	relay := flag.String("relay", "ws://127.0.0.1:4017/relay", "the relay's URL")
	name := flag.String("name", "", "the lease's name")
	id := flag.String("id", "", "the lease's id, instead of its name")
	listen := flag.String("listen", "127.0.0.1:0", "host:port to accept connections on")
	flag.Parse()
	log.SetFlags(0)

	dial, err := relaylink.Dialer(*relay, *id, *name)
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
