//! The command line of Redress: see `redress::cli`.

/// A step allocates and frees on three threads; the system's allocator spends a fifth of the time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    redress::cli::main()
}
