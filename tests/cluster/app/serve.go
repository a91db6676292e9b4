// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
)

const (
	httpAddress = ":8080"
	echoAddress = ":9000"
)

// seen is what a server's application knows of a request.
type seen struct {
	Pod  string `json:"pod"`
	Peer string `json:"peer"`
	Own  string `json:"own"`
	Via  string `json:"via"`
}

func serve([]string) error {
	go echo()
	return http.ListenAndServe(httpAddress, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		pod, _ := os.Hostname()
		own := request.Context().Value(http.LocalAddrContextKey).(net.Addr)
		answer.Header().Set("content-type", "application/json")
		json.NewEncoder(answer).Encode(seen{pod, request.RemoteAddr, own.String(), request.Header.Get("via")})
	}))
}

func echo() {
	listener, err := net.Listen("tcp", echoAddress)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}
