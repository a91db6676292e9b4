// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"unsafe"
)

const soOriginalDst = 80

// originalDst asks as the meshes' own programs do: for an IPv4 peer, mapped or not, at the level of IP.
func originalDst(conn net.Conn) (netip.AddrPort, error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var address syscall.RawSockaddrInet4
	size := uint32(unsafe.Sizeof(address))
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_IP, soOriginalDst,
			uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err = errors.Join(err, nonzero(errno)); err != nil {
		return netip.AddrPort{}, err
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&address.Port))[:])
	return netip.AddrPortFrom(netip.AddrFrom4(address.Addr), port), nil
}

func nonzero(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
