//! The models that lie in the binary.

/// A model that lies in the binary: its files under the names that a folder would have.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static [u8])],
}

/// Every model that `builtin:NAME` can mean.
const ALL: &[Builtin] = &[
    Builtin {
        // Made by scripts/pretrain-tiny-bert.
        name: "tiny-bert",
        files: &[
            (
                "config.json",
                include_bytes!("builtin/tiny-bert/config.json"),
            ),
            ("vocab.txt", include_bytes!("builtin/tiny-bert/vocab.txt")),
            (
                "model.safetensors",
                include_bytes!("builtin/tiny-bert/model.safetensors"),
            ),
        ],
    },
    Builtin {
        // Made by scripts/pretrain-tiny-gpt2.
        name: "tiny-gpt2",
        files: &[
            (
                "config.json",
                include_bytes!("builtin/tiny-gpt2/config.json"),
            ),
            (
                "tokenizer.json",
                include_bytes!("builtin/tiny-gpt2/tokenizer.json"),
            ),
            (
                "model.safetensors",
                include_bytes!("builtin/tiny-gpt2/model.safetensors"),
            ),
        ],
    },
];

impl Builtin {
    /// The model `name`, without the `builtin:` before it.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|builtin| builtin.name == name)
    }

    /// Names of all models in the binary.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        ALL.iter().map(|builtin| builtin.name).collect()
    }

    /// The bytes of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, bytes)| *bytes)
    }
}
