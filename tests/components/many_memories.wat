;; A component with nine memories, of which each but one holds 16 MiB. Otherwise it is well-behaved: `test.many_memories` returns `{}`.
(component
  (core module $big (memory 256))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))
  (core instance (instantiate $big))

  (core module $code
    (memory (export "memory") 1)
    (data (i32.const 0) "{\"schema\":1,\"capabilities\":[{\"id\":\"test.many_memories\",\"title\":\"t\",\"summary\":\"s\",\"risk\":\"LOW\",\"effect\":\"none\",\"idempotent\":true,\"input\":{},\"output\":{},\"permissions\":[]}]}")
    (data (i32.const 1000) "{}")
    ;; The description: where it begins and its length.
    (data (i32.const 1016) "\00\00\00\00\aa\00\00\00")
    ;; The result of `execute`: the case, then at 8 the output.
    (data (i32.const 1024) "\00\00\00\00\00\00\00\00\e8\03\00\00\02\00\00\00")
    ;; Arguments are never looked at: all of them may lie in one place.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048))
    (func (export "describe") (result i32) (i32.const 1016))
    (func (export "execute") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const 1024))
    (func (export "compensate") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
      (i32.const 1024)))
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
