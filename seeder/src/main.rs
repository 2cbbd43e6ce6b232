//! `quantumcoin-seeder`: see [`quantumcoin_seeder::cli`].

fn main() -> std::process::ExitCode {
    quantumcoin_seeder::cli::main()
}
