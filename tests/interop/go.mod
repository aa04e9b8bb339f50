// Portal 1.4.14: its relay, and the peers of this directory on its SDK.
// portal-1.2.0.mod is its twin for Portal 1.2.0; build.sh builds both.
module portal-gateway/interop

go 1.25.3

tool gosuda.org/portal/cmd/relay-server

require (
	github.com/gorilla/websocket v1.5.3
	github.com/rs/zerolog v1.34.0
	gosuda.org/portal v1.4.14
)

require (
	github.com/hashicorp/yamux v0.1.2 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/crypto v0.46.0 // indirect
	golang.org/x/net v0.48.0 // indirect
	golang.org/x/sys v0.39.0 // indirect
	golang.org/x/text v0.32.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
