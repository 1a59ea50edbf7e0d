//! Prints the vocabulary of the built-in data sets, the lines of a `vocab.txt`: the first step of
//! `scripts/pretrain-tiny-bert`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

fn main() {
    for token in lorahost::data::builtin_vocabulary() {
        println!("{token}");
    }
}
