#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redress_fuzz::workflow::run(data));
