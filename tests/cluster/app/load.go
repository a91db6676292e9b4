// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Emulated CPUs on a busy machine stand still for seconds through no fault of weir's.
	patience     = 2 * time.Minute
	keptFailures = 20
)

// books is what one kind of traffic did; bytes are payload at the application's own sockets.
type books struct {
	Opened   atomic.Int64
	Done     atomic.Int64
	Failed   atomic.Int64
	Sent     atomic.Int64
	Received atomic.Int64
}

type failure struct {
	Time string `json:"time"`
	What string `json:"what"`
}

// loader keeps one stream open and asks over HTTP, each time on a connection of its own.
type loader struct {
	url, stream       string
	interval          time.Duration
	requests, streams books
	paused            atomic.Bool
	asking, streaming atomic.Bool // something is under way
	mutex             sync.Mutex
	failures          []failure
	last              seen
}

// counted is a connection whose payload is counted.
type counted struct {
	net.Conn
	books *books
}

func (conn counted) Read(buffer []byte) (int, error) {
	size, err := conn.Conn.Read(buffer)
	conn.books.Received.Add(int64(size))
	return size, err
}

func (conn counted) Write(buffer []byte) (int, error) {
	size, err := conn.Conn.Write(buffer)
	conn.books.Sent.Add(int64(size))
	return size, err
}

func load(args []string) error {
	loader := &loader{}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&loader.url, "url", "", "what to ask")
	flags.StringVar(&loader.stream, "stream", "", "where to stream to")
	books := flags.String("books", "", "the socket on which the books are shown: a path, for TCP would be captured")
	flags.DurationVar(&loader.interval, "interval", time.Second, "between two requests, and two lines of the stream")
	if err := flags.Parse(args); err != nil {
		return err
	}
	go loader.keepAsking()
	if loader.stream != "" {
		go loader.keepStreaming()
	}
	os.Remove(*books) // of a container before
	listener, err := net.Listen("unix", *books)
	if err != nil {
		return err
	}
	return http.Serve(listener, loader)
}

func (loader *loader) fail(books *books, err error) {
	books.Failed.Add(1)
	loader.mutex.Lock()
	defer loader.mutex.Unlock()
	loader.failures = append(loader.failures, failure{time.Now().UTC().Format(time.RFC3339), err.Error()})
	if len(loader.failures) > keptFailures {
		loader.failures = loader.failures[1:]
	}
	fmt.Println("failed:", err)
}

func (loader *loader) dialer(books *books) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		books.Opened.Add(1)
		conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return counted{conn, books}, nil
	}
}

func (loader *loader) keepAsking() {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: loader.dialer(&loader.requests)}
	client := &http.Client{Transport: transport, Timeout: patience}
	for {
		loader.asking.Store(true)
		if !loader.paused.Load() {
			if err := loader.request(client); err != nil {
				loader.fail(&loader.requests, fmt.Errorf("%s: %w", loader.url, err))
			} else {
				loader.requests.Done.Add(1)
			}
		}
		loader.asking.Store(false)
		time.Sleep(loader.interval)
	}
}

func (loader *loader) request(client *http.Client) error {
	answer, err := client.Get(loader.url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %d: %.200s", answer.StatusCode, body)
	}
	loader.mutex.Lock()
	defer loader.mutex.Unlock()
	return json.Unmarshal(body, &loader.last)
}

// keepStreaming sends numbered lines and wants each of them back; it opens the stream anew when it breaks.
func (loader *loader) keepStreaming() {
	for {
		if err := loader.streamOnce(); err != nil {
			loader.fail(&loader.streams, fmt.Errorf("stream %s: %w", loader.stream, err))
		}
		time.Sleep(loader.interval)
	}
}

func (loader *loader) streamOnce() error {
	conn, err := loader.dialer(&loader.streams)(context.Background(), "tcp", loader.stream)
	if err != nil {
		return err
	}
	defer loader.streaming.Store(false)
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for number := 0; ; number++ {
		for loader.streaming.Store(true); loader.paused.Load(); loader.streaming.Store(true) {
			loader.streaming.Store(false)
			time.Sleep(loader.interval)
		}
		conn.SetDeadline(time.Now().Add(patience))
		line := fmt.Sprintf("line %d\n", number)
		if _, err := io.WriteString(conn, line); err != nil {
			return err
		}
		back, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if back != line {
			return fmt.Errorf("sent %q, got %q back", line, back)
		}
		loader.streams.Done.Add(1)
		time.Sleep(loader.interval)
	}
}

func (books *books) figures() map[string]int64 {
	return map[string]int64{"opened": books.Opened.Load(), "done": books.Done.Load(), "failed": books.Failed.Load(),
		"sent": books.Sent.Load(), "received": books.Received.Load()}
}

// ServeHTTP tells the books and, by path, stops and starts the load.
func (loader *loader) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	switch request.URL.Path {
	case "/pause":
		loader.paused.Store(true)
		// Whoever had begun before it could see the pause ends first; who looks later sees it.
		for time.Sleep(loader.interval); loader.asking.Load() || loader.streaming.Load(); {
			time.Sleep(loader.interval / 10)
		}
	case "/resume":
		loader.paused.Store(false)
	}
	loader.mutex.Lock()
	defer loader.mutex.Unlock()
	json.NewEncoder(answer).Encode(map[string]any{"requests": loader.requests.figures(), "streams": loader.streams.figures(),
		"failures": loader.failures, "last": loader.last})
}
