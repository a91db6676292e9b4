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
// an init container that fails would be run again. With --wait it tries until it is connected: what makes a Service work
// may come later than the pod.
func dial(args []string) error {
	outcome := try(args[0])
	for begin := time.Now(); len(args) > 1 && outcome != "connected" && time.Since(begin) < patience; outcome = try(args[0]) {
		time.Sleep(time.Second)
	}
	fmt.Println(args[0], outcome)
	return os.WriteFile(terminationLog, []byte(outcome), 0o644)
}

func try(address string) string {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &late) && late.Timeout():
		return "timeout"
	case err != nil:
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "PING\r\n")
	switch line, err := bufio.NewReader(conn).ReadString('\n'); {
	case err != nil:
		return "connected, then " + err.Error()
	case line != "+PONG\r\n":
		return fmt.Sprintf("connected to what is no Redis: %q", line)
	}
	return "connected"
}
