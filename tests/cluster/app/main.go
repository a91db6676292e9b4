// SPDX-License-Identifier: Apache-2.0

// app is everything that runs in the test cluster's pods but real servers and proxies: one static program, so that an
// image needs nothing else. What it does is the name that it is called by, or its first argument:
//
//	pause                                     holds a pod's namespaces
//	serve                                     answers over HTTP and echoes over TCP, telling what it sees
//	load --url=URL --stream=ADDR:PORT --books=PATH  asks and streams for ever, keeping books of every byte
//	dial ADDR:PORT [--wait]                   one connection; its outcome is the termination message
//	proxy, istio-iptables                     as Istio's pilot-agent: starts Envoy; validates the redirection
//	linkerd2-proxy, linkerd2-network-validator  stand-ins for Linkerd's programs
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

var commands = map[string]func(args []string) error{
	"pause":                      pause,
	"serve":                      serve,
	"load":                       load,
	"dial":                       dial,
	"proxy":                      startEnvoy,
	"istio-iptables":             validateIstio,
	"linkerd2-proxy":             linkerdProxy,
	"linkerd2-network-validator": validateLinkerd,
}

func main() {
	args := os.Args
	run, found := commands[filepath.Base(args[0])]
	if !found && len(args) > 1 {
		args = args[1:]
		run, found = commands[args[0]]
	}
	if !found {
		fmt.Fprintln(os.Stderr, "app: no such command; see tests/cluster/app/main.go")
		os.Exit(2)
	}
	if err := run(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		if code, ok := err.(exitStatus); ok {
			os.Exit(int(code))
		}
		os.Exit(1)
	}
}

// exitStatus ends the program with a number that somebody waits for.
type exitStatus int

func (code exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(code)) }
