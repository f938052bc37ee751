//! Lies: an endless loop in describe.

fn describe() -> String {
    loop {
        std::hint::black_box(0);
    }
}

test_guests::liar!(describe);
