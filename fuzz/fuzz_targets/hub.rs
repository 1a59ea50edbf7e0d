#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lorahost_fuzz::hub(data));
