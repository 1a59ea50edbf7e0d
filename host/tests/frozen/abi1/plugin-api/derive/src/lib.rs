use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Error, Expr, ExprLit, ExprUnary, Fields,
    Lit, UnOp,
};

#[proc_macro_derive(Params, attributes(param))]
pub fn params(input: TokenStream) -> TokenStream {
    expand(input, derive_params)
}

fn expand(input: TokenStream, derive: fn(&DeriveInput) -> syn::Result<Tokens>) -> TokenStream {
    syn::parse(input)
        .and_then(|input| derive(&input))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn derive_params(input: &DeriveInput) -> syn::Result<Tokens> {
    let fields = match &input.data {
        Data::Struct(DataStruct {
            fields: Fields::Named(fields),
            ..
        }) => Some(&fields.named),
        Data::Struct(DataStruct {
            fields: Fields::Unit,
            ..
        }) => None,
        _ => {
            return Err(Error::new_spanned(
                input,
                "Params is derived for structs with named fields",
            ));
        }
    };
    let name = &input.ident;
    let (implementation, types, clause) = input.generics.split_for_impl();
    let summary = escape(first_line(&documentation(&input.attrs)));
    let mut pieces = Vec::new();
    let mut readers = Vec::new();
    for field in fields.into_iter().flatten() {
        let ident = field
            .ident
            .as_ref()
            .ok_or_else(|| Error::new_spanned(field, "a field needs a name"))?;
        let attribute = ParamAttribute::read(&field.attrs)?;
        if attribute.skip {
            readers.push(quote! { #ident: ::core::default::Default::default() });
            continue;
        }
        if attribute.flatten {
            let inner = &field.ty;
            pieces.push(quote! { <#inner as ::lorahost_plugin_api::sdk::Params>::PARAMETERS });
            readers.push(quote! {
                #ident: <#inner as ::lorahost_plugin_api::sdk::Params>::from_parameters(parameters)?
            });
            continue;
        }
        let default = attribute.default.ok_or_else(|| {
            Error::new_spanned(
                field,
                "a parameter needs #[param(default = ..)] or #[param(skip)]",
            )
        })?;
        let doc = documentation(&field.attrs);
        if doc.is_empty() {
            return Err(Error::new_spanned(
                field,
                "a parameter needs a doc comment: it is what users read",
            ));
        }
        let kind = &field.ty;
        let field_name = ident.unraw().to_string();
        let start = format!("{{\"name\":\"{field_name}\",\"type\":\"");
        let least = if attribute.min.is_some() {
            quote! { "" }
        } else {
            quote! { <#kind as ::lorahost_plugin_api::sdk::ParamType>::LEAST }
        };
        let bounds: String = [("min", attribute.min), ("max", attribute.max)]
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| format!(",\"{key}\":{value}")))
            .collect();
        let end = format!(
            ",\"default\":{default}{bounds},\"doc\":\"{}\"}}",
            escape(&doc)
        );
        pieces.push(quote! { ::lorahost_plugin_api::manifest::Piece::Many(&[
            ::lorahost_plugin_api::manifest::Piece::Text(#start),
            ::lorahost_plugin_api::manifest::Piece::Text(<#kind as ::lorahost_plugin_api::sdk::ParamType>::KIND),
            ::lorahost_plugin_api::manifest::Piece::Text("\",\"choices\":"),
            ::lorahost_plugin_api::manifest::Piece::Text(<#kind as ::lorahost_plugin_api::sdk::ParamType>::CHOICES),
            ::lorahost_plugin_api::manifest::Piece::Text(#least),
            ::lorahost_plugin_api::manifest::Piece::Text(#end),
        ]) });
        readers.push(quote! {
            #ident: ::lorahost_plugin_api::sdk::read_parameter(parameters, #field_name)?
        });
    }
    Ok(quote! {
        impl #implementation ::lorahost_plugin_api::sdk::Params for #name #types #clause {
            const SUMMARY: &'static str = #summary;
            const PARAMETERS: ::lorahost_plugin_api::manifest::Piece =
                ::lorahost_plugin_api::manifest::Piece::List(&[#(#pieces),*]);

            fn from_parameters(
                parameters: &::lorahost_plugin_api::Parameters,
            ) -> ::lorahost_plugin_api::sdk::Result<Self> {
                let _ = parameters;
                Ok(Self { #(#readers),* })
            }
        }
    })
}

#[derive(Default)]
struct ParamAttribute {
    skip: bool,
    flatten: bool,
    default: Option<String>,
    min: Option<String>,
    max: Option<String>,
}

impl ParamAttribute {
    fn read(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut found = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("param"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    found.skip = true;
                    return Ok(());
                }
                if meta.path.is_ident("flatten") {
                    found.flatten = true;
                    return Ok(());
                }
                let slot = match () {
                    () if meta.path.is_ident("default") => &mut found.default,
                    () if meta.path.is_ident("min") => &mut found.min,
                    () if meta.path.is_ident("max") => &mut found.max,
                    () => return Err(meta.error("expected default, min, max, skip or flatten")),
                };
                *slot = Some(json(&meta.value()?.parse()?)?);
                Ok(())
            })?;
        }
        Ok(found)
    }
}

fn json(expr: &Expr) -> syn::Result<String> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Float(value),
            ..
        }) => {
            let value: f64 = value.base10_parse()?;
            Ok(format!("{value:?}"))
        }
        Expr::Lit(ExprLit {
            lit: Lit::Int(value),
            ..
        }) => Ok(value.base10_digits().to_owned()),
        Expr::Lit(ExprLit {
            lit: Lit::Bool(value),
            ..
        }) => Ok(value.value.to_string()),
        Expr::Lit(ExprLit {
            lit: Lit::Str(value),
            ..
        }) => Ok(format!("\"{}\"", escape(&value.value()))),
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => Ok(format!("-{}", json(expr)?)),
        other => Err(Error::new_spanned(other, "a literal is needed here")),
    }
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .filter_map(
            |attribute| match &attribute.meta.require_name_value().ok()?.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => Some(text.value().trim().to_owned()),
                _ => None,
            },
        );
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            letter if letter.is_control() => {
                out.extend(format!("\\u{:04x}", u32::from(letter)).chars());
            }
            letter => out.push(letter),
        }
    }
    out
}
