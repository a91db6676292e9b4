// SPDX-License-Identifier: Apache-2.0

// Go's own resolver (netgo), see resolve.c for what it prints.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	got := map[string]any{}
	for _, name := range os.Args[1:] {
		addresses, err := resolver.LookupHost(context.Background(), name)
		var failed *net.DNSError
		switch {
		case err == nil:
			got[name] = addresses
		case errors.As(err, &failed) && failed.IsNotFound:
			got[name] = "not found"
		default:
			got[name] = err.Error()
		}
	}
	json.NewEncoder(os.Stdout).Encode(got)
}
