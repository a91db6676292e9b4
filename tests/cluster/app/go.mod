// SPDX-License-Identifier: Apache-2.0
module weir/tests/cluster/app

go 1.24.0
