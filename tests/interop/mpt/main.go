// Command mpt answers for trees with torchwood's package of that name, one JSON object a line on standard input.
//
//	{"pairs": [[key, value], ...], "lookup": [key, ...], "prefix": [prefix, ...]}
//	  -> {"root": hash, "lookup": [{"value": value or null, "proof": proof}], "prefix": [{"hash", "keys", "proof"}]}
//	{"verify": [{"root", "key", "value": value or null, "proof"}], "verify_prefix": [{"root", "key", "hash", "proof"}]}
//	  -> {"verify": [bool, ...], "verify_prefix": [bool, ...]}
//
// Bytes are hex. The package lies beside this file when it is built: its module marks its files as ignored.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"teelog.example/mpt/mpt"
)

type claim struct {
	Root, Key, Hash, Proof string
	Value                  *string
}

type request struct {
	Pairs        [][2]string
	Lookup       []string
	Prefix       []string
	Verify       []claim
	VerifyPrefix []claim `json:"verify_prefix"`
}

type lookup struct {
	Value *string `json:"value"`
	Proof string  `json:"proof"`
}

type scan struct {
	Hash  string   `json:"hash"`
	Keys  []string `json:"keys"`
	Proof string   `json:"proof"`
}

func bytes(text string) []byte {
	data, err := hex.DecodeString(text)
	check(err)
	return data
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mpt:", err)
		os.Exit(1)
	}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var asked request
		check(decoder.Decode(&asked))
		if asked.Verify != nil || asked.VerifyPrefix != nil {
			check(out.Encode(map[string]any{"verify": verify(asked.Verify), "verify_prefix": prefixes(asked.VerifyPrefix)}))
			continue
		}
		check(out.Encode(tree(asked)))
	}
}

func tree(asked request) map[string]any {
	t := mpt.NewMemTree()
	for _, pair := range asked.Pairs {
		check(t.Set(bytes(pair[0]), bytes(pair[1])))
	}
	snap, err := t.Snap(-1)
	check(err)
	lookups, scans := []lookup{}, []scan{}
	for _, key := range asked.Lookup {
		path, err := t.Path(bytes(key))
		check(err)
		value, ok, proof, err := mpt.ProveLookup(bytes(key), path)
		check(err)
		found := lookup{Proof: hex.EncodeToString(proof)}
		if ok {
			text := hex.EncodeToString(value)
			found.Value = &text
		}
		lookups = append(lookups, found)
	}
	for _, prefix := range asked.Prefix {
		path, err := t.Path(bytes(prefix))
		check(err)
		hash, proof, err := mpt.ProvePrefix(bytes(prefix), path)
		check(err)
		found := scan{Hash: hex.EncodeToString(hash[:]), Keys: []string{}, Proof: hex.EncodeToString(proof)}
		for pair, err := range t.Scan(bytes(prefix)) {
			check(err)
			found.Keys = append(found.Keys, hex.EncodeToString(pair.Key))
		}
		scans = append(scans, found)
	}
	return map[string]any{"root": hex.EncodeToString(snap.Hash[:]), "lookup": lookups, "prefix": scans}
}

func verify(claims []claim) []bool {
	held := []bool{}
	for _, c := range claims {
		var value []byte
		if c.Value != nil {
			value = bytes(*c.Value)
		}
		snap := mpt.Snapshot{Hash: mpt.Hash(bytes(c.Root))}
		held = append(held, mpt.VerifyLookup(snap, bytes(c.Key), value, c.Value != nil, bytes(c.Proof)) == nil)
	}
	return held
}

func prefixes(claims []claim) []bool {
	held := []bool{}
	for _, c := range claims {
		snap := mpt.Snapshot{Hash: mpt.Hash(bytes(c.Root))}
		held = append(held, mpt.VerifyPrefix(snap, bytes(c.Key), mpt.Hash(bytes(c.Hash)), bytes(c.Proof)) == nil)
	}
	return held
}
