use clap::{CommandFactory, Parser};
use lorahost::cli::args::Cli;
use lorahost::spec::schema;

#[test]
fn help_of_the_main_job() {
    insta::assert_snapshot!(Cli::command().render_long_help());
}

#[test]
fn help_of_the_subcommands() {
    let mut command = Cli::command();
    command.build();
    let generate = command.find_subcommand_mut("generate");
    let generate = generate.expect("a subcommand").render_long_help();
    insta::assert_snapshot!("help_of_generate", generate);
    let plugin = command.find_subcommand_mut("plugin").expect("a subcommand");
    let mut text = plugin.render_long_help().to_string();
    for name in ["list", "inspect"] {
        let subcommand = plugin.find_subcommand_mut(name).expect("a subcommand");
        text = format!("{text}\n---\n{}", subcommand.render_long_help());
    }
    let model = command.find_subcommand_mut("model").expect("a subcommand");
    let inspect = model.find_subcommand_mut("inspect").expect("a subcommand");
    text = format!("{text}\n---\n{}", inspect.render_long_help());
    insta::assert_snapshot!(text);
}

#[test]
fn listing_of_the_keys() {
    insta::assert_snapshot!(schema::listing());
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn verbosity_may_stand_anywhere() {
    for line in [
        "lorahost plugin list -v --json",
        "lorahost -v",
        "lorahost plugin inspect f.so --log-format json",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
}
