// Command porcupine reads a history, a JSON object a line, and says whether leases and slots in it are linearizable.
//
// Between two failovers there is one server; with each the state may fall back, so every stretch is checked by itself. A
// call that never had its answer, or was under way during a failover, may have taken effect or not.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"

	"github.com/anishathalye/porcupine"
)

type call struct {
	Process string          `json:"process"`
	Name    string          `json:"name"`
	Keys    []string        `json:"keys"`
	Args    []string        `json:"args"`
	Began   float64         `json:"began"`
	Ended   *float64        `json:"ended"`
	End     string          `json:"end"`
	Reply   json.RawMessage `json:"reply"`
	Start   float64         `json:"start"`
	Stop    float64         `json:"stop"`
}

// What an operation does to an epoch or to a slot.
type kind int

const (
	take     kind = iota // an epoch is taken: greater than all before
	holds                // something was done under an epoch
	stale                // something was refused under an epoch
	feed                 // a feeder writes a slot, or empties it
	insert               // a merge writes an empty slot
	replace              // a merge writes in the place of the member that it named
	occupied             // a merge found a member, and left it
	attempt              // a merge of which nobody knows what came: one of the two, or nothing
)

type input struct {
	kind   kind
	epoch  int64
	member string
	named  string
	// Whether it may have had no effect.
	maybe bool
}

type epochState struct {
	known bool
	now   int64
	above int64
}

type slotState struct {
	known  bool
	member string
}

var epochs = porcupine.NondeterministicModel{
	Init: func() []any { return []any{epochState{}} },
	Step: func(state, in, _ any) []any {
		s, op := state.(epochState), in.(input)
		switch op.kind {
		case take:
			var next []any
			if op.maybe {
				next = append(next, s)
			}
			if op.epoch == 0 {
				// Nobody heard which one it was.
				return append(next, epochState{above: s.above})
			}
			if op.epoch > s.above {
				next = append(next, epochState{true, op.epoch, op.epoch})
			}
			return next
		case holds:
			if !s.known || s.now == op.epoch {
				return []any{epochState{true, op.epoch, s.above}}
			}
		case stale:
			if !s.known || s.now != op.epoch {
				return []any{s}
			}
		}
		return nil
	},
}

var slots = porcupine.NondeterministicModel{
	Init: func() []any { return []any{slotState{}} },
	Step: func(state, in, _ any) []any {
		s, op := state.(slotState), in.(input)
		written := slotState{true, op.member}
		isEmpty, isNamed := !s.known || s.member == "", !s.known || (op.named != "" && s.member == op.named)
		var next []any
		if op.maybe {
			next = append(next, s)
		}
		switch {
		case op.kind == feed,
			op.kind == insert && isEmpty,
			op.kind == replace && isNamed,
			op.kind == attempt && (isEmpty || isNamed):
			next = append(next, written)
		case op.kind == occupied && (!s.known || s.member != ""):
			next = append(next, s)
		}
		return next
	},
}

// A partition is a key, or a slot of one, between two failovers.
type partition struct {
	name    string
	stretch int
}

type history struct {
	failovers []call
	fences    map[partition][]porcupine.Operation
	slots     map[partition][]porcupine.Operation
}

func nanos(seconds float64) int64 { return int64(seconds * 1e9) }

// add puts an operation where it belongs: into one stretch, or as one that may have been in either of two.
func (h *history) add(into map[partition][]porcupine.Operation, name string, c call, op input) {
	first := sort.Search(len(h.failovers), func(i int) bool { return h.failovers[i].Stop >= c.Began })
	last := first
	if c.End == "unknown" {
		op.maybe = true
	}
	if first < len(h.failovers) && (c.Ended == nil || *c.Ended >= h.failovers[first].Start) {
		last, op.maybe = first+1, true
	}
	if op.maybe && (op.kind == holds || op.kind == stale || op.kind == occupied) {
		return
	}
	ended := int64(math.MaxInt64)
	if c.Ended != nil && last == first {
		ended = nanos(*c.Ended)
	}
	for stretch := first; stretch <= last; stretch++ {
		began := nanos(c.Began)
		if stretch > first {
			began = nanos(h.failovers[first].Start)
		}
		at := partition{name, stretch}
		into[at] = append(into[at], porcupine.Operation{ClientId: len(into[at]), Input: op, Call: began, Return: ended})
	}
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", text))
	}
	return value
}

func decode(text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
}

func (h *history) lease(c call) {
	fence := c.Keys[1]
	if c.Args[0] == "take" {
		var reply []json.RawMessage
		op := input{kind: take}
		if c.End == "ok" {
			decode(c.Reply, &reply)
			if len(reply) == 0 {
				return
			}
			decode(reply[0], &op.epoch)
		}
		h.add(h.fences, fence, c, op)
	} else if c.Args[0] == "refresh" && c.End == "ok" && string(c.Reply) == "1" {
		h.add(h.fences, fence, c, input{kind: holds, epoch: number(c.Args[3])})
	}
}

func (h *history) run(c call) {
	if c.Args[1] == "0" || c.End != "ok" {
		return
	}
	did := holds
	if string(c.Reply) == `"stale"` {
		did = stale
	}
	h.add(h.fences, c.Keys[4], c, input{kind: did, epoch: number(c.Args[1])})
}

func (h *history) merge(c call) {
	var plan struct {
		Candles  int     `json:"candles"`
		Yielding []int64 `json:"yielding"`
	}
	decode([]byte(c.Args[0]), &plan)
	named := map[int64]string{}
	for i, at := range plan.Yielding {
		named[at] = c.Args[1+2*plan.Candles+i]
	}
	outcomes := ""
	if c.End == "ok" {
		var reply []json.RawMessage
		var word string
		decode(c.Reply, &reply)
		decode(reply[0], &word)
		if word != "done" {
			return
		}
		decode(reply[1], &outcomes)
	} else if c.End == "failed" {
		return
	}
	did := map[byte]kind{'I': insert, 'C': replace, 'D': occupied, 'P': occupied}
	for i := range plan.Candles {
		at, member := number(c.Args[1+2*i]), c.Args[2+2*i]
		op := input{kind: attempt, member: member, named: named[at]}
		if outcomes != "" {
			known, ok := did[outcomes[i]]
			if !ok {
				continue
			}
			op.kind = known
		}
		h.add(h.slots, fmt.Sprintf("%s %d", c.Keys[0], at), c, op)
	}
}

func read(path string) *history {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	h := &history{fences: map[partition][]porcupine.Operation{}, slots: map[partition][]porcupine.Operation{}}
	var calls []call
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var c call
		decode(lines.Bytes(), &c)
		if c.Name == "failover" {
			h.failovers = append(h.failovers, c)
		} else {
			calls = append(calls, c)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
	for _, c := range calls {
		switch c.Name {
		case "lease.lua":
			h.lease(c)
		case "run.lua":
			h.run(c)
		case "merge.lua":
			h.merge(c)
		case "feeder":
			h.add(h.slots, fmt.Sprintf("%s %s", c.Keys[0], c.Args[0]), c, input{kind: feed, member: c.Args[1]})
		}
	}
	return h
}

// check tells each partition that no order of its operations explains; it returns how many there are, and operations.
func check(partitions map[partition][]porcupine.Operation, model porcupine.NondeterministicModel) (wrong, operations int) {
	for at, found := range partitions {
		operations += len(found)
		if !porcupine.CheckOperations(model.ToModel(), found) {
			fmt.Printf("not linearizable: %s, %d failovers before\n", at.name, at.stretch)
			wrong++
		}
	}
	return wrong, operations
}

func main() {
	h := read(os.Args[1])
	wrongEpochs, ofEpochs := check(h.fences, epochs)
	wrongSlots, ofSlots := check(h.slots, slots)
	fmt.Printf("%d operations on epochs, %d on slots\n", ofEpochs, ofSlots)
	if wrongEpochs+wrongSlots > 0 {
		os.Exit(1)
	}
}
