// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const terminationLog = "/dev/termination-log"

// dial makes one connection to a Redis and says what became of it, where the pod's status shows it. It always succeeds:
// an init container that fails would be run again.
func dial(args []string) error {
	outcome := "connected"
	conn, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		outcome = "refused"
	case errors.As(err, &late) && late.Timeout():
		outcome = "timeout"
	case err != nil:
		outcome = err.Error()
	default:
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, "PING\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			outcome = "connected, then " + err.Error()
		} else if line != "+PONG\r\n" {
			outcome = fmt.Sprintf("connected to what is no Redis: %q", line)
		}
	}
	fmt.Println(args[0], outcome)
	return os.WriteFile(terminationLog, []byte(outcome), 0o644)
}
