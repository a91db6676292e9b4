// SPDX-License-Identifier: Apache-2.0

// Go's net/http: GETs each address and prints the bodies, a line each.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func get(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func main() {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	for _, url := range os.Args[1:] {
		body, err := get(client, url)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(body)
	}
}
