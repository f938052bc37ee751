//! The command line of Redress: see `redress::cli`.
fn main() -> std::process::ExitCode {
    redress::cli::main()
}
