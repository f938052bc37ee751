//! Lies: it prints what nobody reads and exits in describe.

fn describe() -> String {
    for _ in 0..10_000 {
        println!("hello");
    }
    std::process::exit(0)
}

test_guests::liar!(describe);
