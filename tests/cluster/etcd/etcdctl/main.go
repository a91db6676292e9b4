// SPDX-License-Identifier: Apache-2.0
// etcdctl of the cluster that tests/cluster runs, built from the project's own module.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() { ctlv3.MustStart() }
