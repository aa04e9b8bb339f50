// Portal 1.2.0: its relay, and the peers of this directory on its SDK.
// The twin of go.mod, for go build -modfile.
module portal-gateway/interop

go 1.25.3

tool gosuda.org/portal/cmd/relay-server

require (
	github.com/gorilla/websocket v1.5.3
	github.com/rs/zerolog v1.34.0
	gosuda.org/portal v1.2.0
)

require (
	github.com/hashicorp/yamux v0.1.2 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	github.com/spf13/cobra v1.10.1 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/crypto v0.43.0 // indirect
	golang.org/x/sys v0.37.0 // indirect
	google.golang.org/protobuf v1.36.10 // indirect
)
