//go:build tools

// Package tools names the programs of a foreign mirror that the tests build and run.
package tools

import (
	_ "filippo.io/sunlight/cmd/sunlight"
	_ "filippo.io/sunlight/cmd/sunlight-keygen"
)
