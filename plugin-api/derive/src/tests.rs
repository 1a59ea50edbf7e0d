//! What the derives refuse, and why; what they make is tested where it is used.

use syn::parse_quote;

use super::*;

fn refused(derive: fn(&DeriveInput) -> syn::Result<Tokens>, input: &DeriveInput) -> String {
    derive(input).expect_err("must be refused").to_string()
}

#[test]
fn parameters_need_default_and_documentation() {
    let input = parse_quote! { struct S { /** Doc. */ gain: f64 } };
    let expected = "a parameter needs #[param(default = ..)] or #[param(skip)]";
    assert_eq!(refused(derive_params, &input), expected);
    let input = parse_quote! { struct S { #[param(default = 1.0)] gain: f64 } };
    let expected = "a parameter needs a doc comment: it is what users read";
    assert_eq!(refused(derive_params, &input), expected);
    let input = parse_quote! { struct S { #[param(skip)] state: Vec<f64> } };
    assert!(derive_params(&input).is_ok());
}

#[test]
fn attributes_hold_known_keys_and_literals() {
    let input = parse_quote! { struct S { /** Doc. */ #[param(standard = 1.0)] gain: f64 } };
    assert_eq!(
        refused(derive_params, &input),
        "expected default, min, max, skip or flatten"
    );
    let input = parse_quote! { struct S { /** Doc. */ #[param(default = f64::MAX)] gain: f64 } };
    assert_eq!(refused(derive_params, &input), "a literal is needed here");
}

#[test]
fn only_plain_structs_and_plain_enums_are_derived() {
    let expected = "Params is derived for structs with named fields";
    assert_eq!(
        refused(derive_params, &parse_quote! { struct S(f64); }),
        expected
    );
    assert_eq!(
        refused(derive_params, &parse_quote! { enum E { A } }),
        expected
    );
    let input = parse_quote! { enum E { A, B(f64) } };
    assert_eq!(refused(derive_choice, &input), "a choice holds no data");
    let input = parse_quote! { struct S; };
    assert_eq!(
        refused(derive_choice, &input),
        "Choice is derived for enums"
    );
}

#[test]
fn names_and_texts() {
    assert_eq!(snake_case("FanIn"), "fan_in");
    assert_eq!(snake_case("Rank"), "rank");
    assert_eq!(escape("a \"b\" \\ \n\u{1}"), "a \\\"b\\\" \\\\ \\n\\u0001");
}
