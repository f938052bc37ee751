;; Attacks that no compiler writes. `execute` knows its capabilities by the lengths of their names.
(component
  (core module $code
    (memory (export "memory") 1)
    (table $table 1 funcref)
    (data (i32.const 0) "{\"schema\":1,\"capabilities\":[{\"id\":\"test.bare_loop\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_table\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_memory\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_bad_text\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_recursion\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_out_of_bounds\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_wrong_discriminant\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_false_name\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]},{\"id\":\"test.bare_many_values\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]}]}")
    ;; The description: where it begins and its length.
    (data (i32.const 4000) "\00\00\00\00\1e\05\00\00")
    ;; Results of `execute`: the case, then at 8 the output. Bytes that are no text; a text beyond the memory; no case.
    (data (i32.const 4008) "\ff\fe")
    (data (i32.const 4016) "\00\00\00\00\00\00\00\00\a8\0f\00\00\02\00\00\00")
    (data (i32.const 4032) "\00\00\00\00\00\00\00\00\a8\0f\00\00\00\00\00\40")
    (data (i32.const 4048) "\09\00\00\00\00\00\00\00")
    (data (i32.const 4064) "\00\00\00\00\00\00\00\00\ff\ff\00\00\ff\ff\3f\00")
    ;; A place for short arguments, which are never looked at; none for long ones.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (if (result i32) (i32.gt_u (local.get 3) (i32.const 1000)) (then (i32.const -16)) (else (i32.const 8192))))
    (func (export "describe") (result i32) (i32.const 4000))
    ;; A list of as many numbers as there is room for in an output: `[1,1,...,1]`.
    (func $many-values (result i32)
      (local $at i32)
      (drop (memory.grow (i32.const 65)))
      (i32.store8 (i32.const 65535) (i32.const 0x5b))
      (local.set $at (i32.const 65536))
      (loop $more
        (i32.store16 (local.get $at) (i32.const 0x2c31))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 4259836))))
      (i32.store16 (local.get $at) (i32.const 0x5d31))
      (i32.const 4064))
    (func $down (call $down))
    (func $"store handle limit exceeded" (unreachable))
    (func (export "execute") (param i32) (param $length i32) (param i32 i32 i32 i32 i32 i64) (result i32)
      ;; test.bare_loop
      (if (i32.eq (local.get $length) (i32.const 14)) (then (loop $for-ever (br $for-ever))))
      ;; test.bare_table
      (if (i32.eq (local.get $length) (i32.const 15)) (then (loop $more (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1)))) (unreachable)))
      ;; test.bare_memory
      (if (i32.eq (local.get $length) (i32.const 16)) (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)))
      ;; test.bare_bad_text
      (if (i32.eq (local.get $length) (i32.const 18)) (then (return (i32.const 4016))))
      ;; test.bare_false_name
      (if (i32.eq (local.get $length) (i32.const 20)) (then (call $"store handle limit exceeded")))
      ;; test.bare_recursion
      (if (i32.eq (local.get $length) (i32.const 19)) (then (call $down)))
      ;; test.bare_many_values
      (if (i32.eq (local.get $length) (i32.const 21)) (then (return (call $many-values))))
      ;; test.bare_out_of_bounds
      (if (i32.eq (local.get $length) (i32.const 23)) (then (return (i32.const 4032))))
      ;; test.bare_wrong_discriminant
      (if (i32.eq (local.get $length) (i32.const 28)) (then (return (i32.const 4048))))
      (unreachable))
    (func (export "compensate") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
      (unreachable)))
  (core instance $code (instantiate $code))
  (alias core export $code "memory" (core memory $memory))
  (alias core export $code "realloc" (core func $realloc))

  (type $call (record
    (field "capability" string) (field "input" string) (field "key" string) (field "attempt" u32) (field "timeout-ms" u64)))
  (type $compensation (record
    (field "capability" string) (field "input" string) (field "execute-key" string) (field "key" string)
    (field "attempt" u32) (field "timeout-ms" u64) (field "output" (option string)) (field "undo" (list (list u8)))))
  (type $failure (record
    (field "code" string) (field "message" string) (field "retryable" bool) (field "retry-after-ms" (option u64))
    (field "details" (option string))))
  (func $describe (result string)
    (canon lift (core func $code "describe") (memory $memory)))
  (func $execute (param "call" $call) (result (result string (error $failure)))
    (canon lift (core func $code "execute") (memory $memory) (realloc $realloc)))
  (func $compensate (param "call" $compensation) (result (result (error $failure)))
    (canon lift (core func $code "compensate") (memory $memory) (realloc $realloc)))

  ;; Gives the types of the functions their names.
  (component $named
    (type $a (record
      (field "capability" string) (field "input" string) (field "key" string) (field "attempt" u32) (field "timeout-ms" u64)))
    (type $b (record
      (field "capability" string) (field "input" string) (field "execute-key" string) (field "key" string)
      (field "attempt" u32) (field "timeout-ms" u64) (field "output" (option string)) (field "undo" (list (list u8)))))
    (type $c (record
      (field "code" string) (field "message" string) (field "retryable" bool) (field "retry-after-ms" (option u64))
      (field "details" (option string))))
    (import "call" (type $call (eq $a)))
    (import "compensation" (type $compensation (eq $b)))
    (import "failure" (type $failure (eq $c)))
    (import "describe" (func $describe (result string)))
    (import "execute" (func $execute (param "call" $call) (result (result string (error $failure)))))
    (import "compensate" (func $compensate (param "call" $compensation) (result (result (error $failure)))))
    (export $call-out "call" (type $call))
    (export $compensation-out "compensation" (type $compensation))
    (export $failure-out "failure" (type $failure))
    (export "describe" (func $describe))
    (export "execute" (func $execute)
      (func (param "call" $call-out) (result (result string (error $failure-out)))))
    (export "compensate" (func $compensate)
      (func (param "call" $compensation-out) (result (result (error $failure-out))))))
  (instance $provider (instantiate $named
    (with "call" (type $call)) (with "compensation" (type $compensation)) (with "failure" (type $failure))
    (with "describe" (func $describe)) (with "execute" (func $execute)) (with "compensate" (func $compensate))))
  (export "redress:capability/provider@0.1.0" (instance $provider)))
