// Command pooledproxy is what a Go programmer would put in front of one lease: httputil.ReverseProxy on
// Portal's SDK, the name looked up once and the streams kept for further requests. The benchmark's peer.
//
// It prints "ready HOST:PORT" when it listens.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"portal-gateway/interop/relaylink"
)

// idleStreams is above the benchmark's highest number of clients, so that no stream is opened twice.
const idleStreams = 512

func main() {
	relay := flag.String("relay", "ws://127.0.0.1:4017/relay", "the relay's URL")
	name := flag.String("name", "", "the lease's name")
	id := flag.String("id", "", "the lease's id, instead of its name")
	listen := flag.String("listen", "127.0.0.1:0", "host:port to accept connections on")
	flag.Parse()
	log.SetFlags(0)

	open, err := relaylink.Dialer(*relay, *id, *name)
	if err != nil {
		log.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(&url.URL{Scheme: "http", Host: "lease"})
			request.SetXForwarded()
		},
		Transport: &http.Transport{
			DialContext:         func(context.Context, string, string) (net.Conn, error) { return open() },
			MaxIdleConns:        idleStreams,
			MaxIdleConnsPerHost: idleStreams,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
		FlushInterval: -1,
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", listener.Addr())
	log.Fatal(http.Serve(listener, proxy))
}
