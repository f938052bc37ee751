//! Lies: it takes all memory that it can get in describe.

fn describe() -> String {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

test_guests::liar!(describe);
