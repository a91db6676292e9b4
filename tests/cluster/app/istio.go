// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

const (
	envoy         = "/usr/local/bin/envoy"
	envoyConfig   = "/etc/istio/proxy/envoy.json"
	validateProbe = "127.0.0.6:15002"
	notRedirected = exitStatus(126) // istio-cni's repair controller looks for it
)

// startEnvoy is pilot-agent's `proxy sidecar`: Envoy in its place, with a configuration that is mounted instead of
// being fetched from istiod.
func startEnvoy(args []string) error {
	if len(args) == 0 || args[0] != "sidecar" {
		return fmt.Errorf("proxy: only sidecar is known")
	}
	return syscall.Exec(envoy, []string{"envoy", "-c", envoyConfig, "--concurrency", "1", "--disable-hot-restart",
		"--log-level", "warning", "--file-flush-interval-msec", "100"}, os.Environ())
}

// validateIstio is istio-validation, with its addresses and its exit status; an emulated CPU wants more patience than its 5 s.
func validateIstio(args []string) error {
	if !slices.Contains(args, "--run-validation") {
		return fmt.Errorf("istio-iptables: it would write rules, and must not be needed")
	}
	found := make(chan error, 2)
	for _, address := range []string{"127.0.0.1:15001", "127.0.0.1:15006"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go answerValidation(listener, found)
	}
	for deadline := time.After(time.Minute); ; {
		if conn, err := net.DialTimeout("tcp", validateProbe, time.Second); err == nil {
			defer conn.Close()
		}
		select {
		case err := <-found:
			return err
		case <-time.After(time.Second):
		case <-deadline:
			fmt.Println("iptables validation failed; workload is not ready for Istio")
			return notRedirected
		}
	}
}

func answerValidation(listener net.Listener, found chan<- error) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		dialled, err := originalDst(conn)
		fmt.Println("accepted on", listener.Addr(), "original destination", dialled, err)
		if err == nil && dialled.Port() == 15002 {
			found <- nil
		}
		conn.Close()
	}
}
