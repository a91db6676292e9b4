// SPDX-License-Identifier: Apache-2.0
// etcd of the cluster that tests/cluster runs, built from the project's own module.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
