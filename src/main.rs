//! The command line: see [`netform::cli`].

fn main() -> std::process::ExitCode {
    netform::cli::main()
}
