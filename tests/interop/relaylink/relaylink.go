// Package relaylink holds what the peers of this directory share: a question to the relay that the
// SDK does not offer in the same words in both of its versions, and the copying of streams.
package relaylink

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rs/zerolog"

	"gosuda.org/portal/portal"
)

func init() {
	// The SDK logs every stream; at its default level that costs more than the stream does.
	zerolog.SetGlobalLevel(zerolog.WarnLevel)
}

// stream reads and writes binary WebSocket messages as one stream of bytes.
type stream struct {
	*websocket.Conn
	message io.Reader
}

func (s *stream) Read(into []byte) (int, error) {
	for {
		if s.message == nil {
			_, message, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			s.message = message
		}
		n, err := s.message.Read(into)
		if err == io.EOF {
			s.message = nil
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *stream) Write(data []byte) (int, error) {
	if err := s.WriteMessage(websocket.BinaryMessage, data); err != nil {
		return 0, err
	}
	return len(data), nil
}

// Dial opens a session of its own to the relay at url.
func Dial(ctx context.Context, url string) (*portal.RelayClient, error) {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	return portal.NewRelayClient(&stream{Conn: conn}), nil
}

// Watch calls listed each time that the lease id appears in the relay's directory, looking every
// interval over a session of its own, which it opens again when the relay was away.
func Watch(url, id string, interval time.Duration, listed func()) {
	for present := false; ; time.Sleep(interval) {
		session, err := Dial(context.Background(), url)
		if err != nil {
			present = false
			continue
		}
		for ; ; time.Sleep(interval) {
			info, err := session.GetRelayInfo()
			if err != nil {
				break
			}
			// The directory holds ids in 1.2.0, leases later: the bytes of either hold the id.
			raw, err := info.MarshalVT()
			if err != nil {
				break
			}
			now := bytes.Contains(raw, []byte(id))
			if now && !present {
				listed()
			}
			present = now
		}
		present = false
		session.Close()
	}
}

// Splice copies both ways between two streams and closes both as soon as one direction ended, which is
// what Portal's own tunnel does.
func Splice(one, other io.ReadWriteCloser) {
	done := make(chan struct{}, 2)
	pump := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go pump(one, other)
	go pump(other, one)
	<-done
	one.Close()
	other.Close()
	<-done
}
