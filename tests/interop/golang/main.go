// Command interop checks what teelog writes with other people's code, and writes what teelog must accept.
//
//	interop check-log DIR VKEY...                  the log in DIR (checkpoint, tiles, bundles), every line by VKEYs
//	interop check-proof POLICY PROOF ENTRY         a tlog-proof under a tlog-policy
//	interop make-log DIR ORIGIN SIZE               a log of SIZE entries: tiles, bundles, proofs, cosigned checkpoint
//
// golang.org/x/mod's sumdb packages do the notes and the trees, filippo.io/torchwood the cosignatures and policies;
// cosignatures are checked a second time by github.com/transparency-dev/formats.
package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/mldsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "check-log":
		return checkLog(args[1], args[2:])
	case len(args) == 4 && args[0] == "check-proof":
		return checkProof(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "make-log":
		size, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return makeLog(args[1], args[2], size)
	}
	return errors.New("usage: check-log DIR VKEY... | check-proof POLICY PROOF ENTRY | make-log DIR ORIGIN SIZE")
}

func verifierFor(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("bad vkey %q", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("bad vkey %q", vkey)
	}
	if key[0] == 1 {
		return note.NewVerifier(vkey)
	}
	return torchwood.NewCosignatureVerifier(vkey)
}

// dirTiles reads c2sp.org/tlog-tiles hash tiles of height 8 from a directory.
type dirTiles string

func (d dirTiles) Height() int { return torchwood.TileHeight }

func (d dirTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(filepath.Join(string(d), torchwood.TilePath(t)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (d dirTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func checkLog(dir string, vkeys []string) error {
	var verifiers []note.Verifier
	for _, vkey := range vkeys {
		v, err := verifierFor(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, v)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	opened, err := note.Open(raw, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != len(verifiers) {
		return fmt.Errorf("%d of %d keys have a verified line", len(opened.Sigs), len(verifiers))
	}
	if err := checkCosignatures(raw, vkeys); err != nil {
		return err
	}
	c, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(c.Tree, dirTiles(dir))
	for i := int64(0); i < c.N; i++ {
		entry, err := readEntry(dir, i, c.N)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(c.N, i, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, c.N, c.Hash, i, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		old, err := tlog.TreeHash(i+1, reader)
		if err != nil {
			return err
		}
		consistency, err := tlog.ProveTree(c.N, i+1, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(consistency, c.N, c.Hash, i+1, old); err != nil {
			return fmt.Errorf("size %d: %w", i+1, err)
		}
	}
	fmt.Printf("ok %s %d %d\n", c.Origin, c.N, len(opened.Sigs))
	return nil
}

// checkCosignatures opens the note once more with transparency-dev's verifiers of the cosignature types.
func checkCosignatures(raw []byte, vkeys []string) error {
	var verifiers []note.Verifier
	for _, vkey := range vkeys {
		v, err := f_note.NewVerifier(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, v)
	}
	opened, err := note.Open(raw, note.VerifierList(verifiers...))
	if err != nil {
		return fmt.Errorf("formats: %w", err)
	}
	if len(opened.Sigs) != len(vkeys) {
		return fmt.Errorf("formats: %d of %d keys have a verified line", len(opened.Sigs), len(vkeys))
	}
	return nil
}

func readEntry(dir string, index, size int64) ([]byte, error) {
	tile := tlog.TileForIndex(torchwood.TileHeight, tlog.StoredHashIndex(0, index))
	tile.W = int(min(256, size-tile.N*256))
	tile.L = -1
	data, err := os.ReadFile(filepath.Join(dir, torchwood.TilePath(tile)))
	if err != nil {
		return nil, err
	}
	for i := int64(0); ; i++ {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("bundle of entry %d is truncated", index)
		}
		n := int(binary.BigEndian.Uint16(data))
		if i == index%256 {
			return data[2 : 2+n], nil
		}
		data = data[2+n:]
	}
}

func checkProof(policyFile, proofFile, entryFile string) error {
	policyText, err := os.ReadFile(policyFile)
	if err != nil {
		return err
	}
	policy, err := torchwood.ParsePolicy(policyText)
	if err != nil {
		return err
	}
	proof, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryFile)
	if err != nil {
		return err
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(entry), proof); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

// hashes is an in-memory tlog.HashReader that a log being written grows.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, i := range indexes {
		found = append(found, h[i])
	}
	return found, nil
}

func makeLog(dir, origin string, size int64) error {
	var stored hashes
	var bundle []byte
	for i := int64(0); i < size; i++ {
		entry := []byte(fmt.Sprintf("entry %d", i))
		grown, err := tlog.StoredHashes(i, entry, stored)
		if err != nil {
			return err
		}
		stored = append(stored, grown...)
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
		if i%256 == 255 || i == size-1 {
			tile := tlog.Tile{H: torchwood.TileHeight, L: -1, N: i / 256, W: int(i%256) + 1}
			if err := write(dir, torchwood.TilePath(tile), bundle); err != nil {
				return err
			}
			bundle = nil
		}
	}
	for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		data, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		if err := write(dir, torchwood.TilePath(tile), data); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return err
	}
	return sign(dir, torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: root}}, stored)
}

func sign(dir string, c torchwood.Checkpoint, stored hashes) error {
	skey, vkey, err := note.GenerateKey(nil, c.Origin)
	if err != nil {
		return err
	}
	logSigner, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	_, edKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	pqKey, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return err
	}
	policy := "log " + vkey + "\n"
	signers := []note.Signer{logSigner}
	for i, key := range []crypto.Signer{edKey, pqKey} {
		signer, err := torchwood.NewCosignatureSigner("witness.example/go", key)
		if err != nil {
			return err
		}
		signers = append(signers, signer)
		policy += fmt.Sprintf("witness w%d %s\n", i, signer.Verifier().String())
	}
	policy += "group both all w0 w1\nquorum both\n"
	signed, err := note.Sign(&note.Note{Text: c.String()}, signers...)
	if err != nil {
		return err
	}
	for i := int64(0); i < c.N; i += 1 + c.N/16 {
		p, err := tlog.ProveRecord(c.N, i, stored)
		if err != nil {
			return err
		}
		if err := write(dir, fmt.Sprintf("proofs/%d.tlog-proof", i), torchwood.FormatProof(i, p, signed)); err != nil {
			return err
		}
	}
	if err := write(dir, "policy", []byte(policy)); err != nil {
		return err
	}
	return write(dir, "checkpoint", signed)
}

func write(dir, name string, data []byte) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
