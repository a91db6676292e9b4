// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// pause waits for the end; as process 1 of a pod it also reaps what others leave behind.
func pause([]string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return nil
		}
		for pid := 1; pid > 0; {
			pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
	return nil
}
