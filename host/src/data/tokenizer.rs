//! Text to token ids, as Hugging Face's tokenizers give them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::{InputSequence, PreTokenizerWrapper, TruncationParams};

use super::error::DataError;
use super::text_stream::TextStream;
use super::tokens::SpecialTokens;
use crate::digest::sha256;

/// A tokenizer whose own padding and truncation are switched off.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Where it comes from, for errors.
    path: PathBuf,
    sha256: String,
}

/// The word of each token, by its place in the text.
pub type WordsOfTokens = Vec<Option<u32>>;

/// The tokens of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    /// Tokens of the whole text, special tokens included: more than `ids` where it lost its end.
    pub length: usize,
}

/// Cuts encodings to a length and puts the special tokens around them.
///
/// The crate's own truncation stops as soon as it has enough, and so cannot tell how long a text was.
struct Fitting {
    /// Truncates.
    inner: tokenizers::Tokenizer,
    /// Special tokens around each text.
    special: usize,
}

impl Fitting {
    /// `whole` has all tokens of a text, and none of the special ones.
    fn fit(&self, whole: tokenizers::Encoding) -> tokenizers::Result<(Encoded, WordsOfTokens)> {
        let length = whole.len() + self.special;
        let fitted = self.inner.post_process(whole, None, true)?;
        let encoded = Encoded {
            ids: fitted.get_ids().to_vec(),
            length,
        };
        Ok((encoded, fitted.get_word_ids().to_vec()))
    }
}

/// The tokens of one text, and how many of its bytes each stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    pub ids: Vec<u32>,
    pub bytes: Vec<u32>,
}

impl Tokenizer {
    /// Opens the tokenizer of a model's folder: `tokenizer.json`, or else the byte-level BPE of GPT-2 and `RoBERTa`
    /// (`vocab.json` and `merges.txt`), or else BERT's `vocab.txt`; the latter two with what `tokenizer_config.json`
    /// says (`add_prefix_space`, false when it is not said; `do_lower_case`, true when it is not).
    ///
    /// # Errors
    /// When none of the files is there or what it holds cannot be used.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let file = folder.join("tokenizer.json");
        if let Some(bytes) = read_if_there(&file)? {
            return Self::parse(&bytes, file);
        }
        let file = folder.join("vocab.json");
        let merges = read_if_there(&folder.join("merges.txt"))?;
        if let (Some(vocab), Some(merges)) = (read_if_there(&file)?, merges) {
            let json = byte_level(&vocab, &merges, &read_config(folder)?, &file)?;
            return Self::parse(&json, file);
        }
        let file = folder.join("vocab.txt");
        let Some(vocab) = read_if_there(&file)? else {
            return Err(DataError::NoTokenizer {
                folder: folder.to_owned(),
            });
        };
        let vocab = String::from_utf8(vocab).map_err(|_| problem(&file, "it is not UTF-8"))?;
        let tokens: Vec<&str> = vocab.lines().map(str::trim_end).collect();
        Self::parse(&wordpiece(&tokens, &read_config(folder)?, &file)?, file)
    }

    /// BERT's lower-casing `WordPiece` tokenizer over the lines of a `vocab.txt`.
    ///
    /// # Errors
    /// When a special token is missing or a token occurs twice.
    pub fn from_vocabulary(tokens: &[impl AsRef<str>]) -> Result<Self, DataError> {
        let file = PathBuf::from("vocab.txt");
        let tokens: Vec<&str> = tokens.iter().map(AsRef::as_ref).collect();
        Self::parse(&wordpiece(&tokens, &Map::new(), &file)?, file)
    }

    /// The tokenizer of a `tokenizer.json`, which messages call `origin`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn from_json(json: &[u8], origin: impl Into<PathBuf>) -> Result<Self, DataError> {
        Self::parse(json, origin.into())
    }

    fn parse(json: &[u8], path: PathBuf) -> Result<Self, DataError> {
        // The crate panics on parts of a file that are not JSON, and on templates of what is not there.
        let value: Value =
            serde_json::from_slice(json).map_err(|error| problem(&path, error.to_string()))?;
        if let Some(piece) = misplaced(&value["post_processor"]) {
            let what = format!("its post_processor places {piece}");
            return Err(problem(&path, what));
        }
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| problem(&path, error.to_string()))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| problem(&path, error.to_string()))?;
        Ok(Self {
            inner,
            path,
            sha256: sha256(json),
        })
    }

    /// Token ids of each text, special tokens included, at most `max_length` of them: a longer text loses its end, and
    /// keeps the special tokens around it. Uses all cores.
    ///
    /// # Errors
    /// When `max_length` leaves no room for text, or the tokenizer fails on one.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
        max_length: usize,
    ) -> Result<Vec<Encoded>, DataError> {
        let fitting = self.fitting(max_length)?;
        self.in_chunks(texts, |chunk| {
            let chunk: Vec<&str> = chunk.iter().map(AsRef::as_ref).collect();
            let whole = self.inner.encode_batch_fast(chunk, false)?;
            let fitted = whole.into_iter().map(|whole| fitting.fit(whole));
            fitted.map(|fitted| Ok(fitted?.0)).collect()
        })
    }

    /// As [`Tokenizer::encode_batch`], of texts that are words: with the word of each token, which special tokens have
    /// not.
    pub fn encode_words(
        &self,
        texts: &[&[String]],
        max_length: usize,
    ) -> Result<Vec<(Encoded, WordsOfTokens)>, DataError> {
        let fitting = self.fitting(max_length)?;
        let mut inner = self.inner.clone();
        // A byte-level tokenizer knows a word by the space before it, which a list of words has not.
        if let Some(PreTokenizerWrapper::ByteLevel(byte_level)) = inner.get_pre_tokenizer() {
            let byte_level = (*byte_level).add_prefix_space(true);
            inner.with_pre_tokenizer(Some(byte_level));
        }
        self.in_chunks(texts, |chunk| {
            let chunk = chunk
                .iter()
                .map(|words| InputSequence::from(words.to_vec()))
                .collect::<Vec<_>>();
            let whole = inner.encode_batch(chunk, false)?;
            whole.into_iter().map(|whole| fitting.fit(whole)).collect()
        })
    }

    /// The whole of each text: its ids with special tokens, and the bytes of text that each token covers. The bytes of a
    /// text's tokens are all of its bytes, unless it has no token.
    ///
    /// # Errors
    /// When the tokenizer fails on one.
    pub fn encode_whole<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Covered>, DataError> {
        self.in_chunks(texts, |chunk| {
            let chunk: Vec<&str> = chunk.iter().map(AsRef::as_ref).collect();
            let encoded = self.inner.encode_batch(chunk.clone(), true)?;
            let covered = encoded.iter().zip(chunk).map(|(encoding, text)| {
                let mut end = 0;
                // Offsets leave out the space before a word, and the tokens of one character share theirs.
                let mut bytes: Vec<u32> = encoding
                    .get_offsets()
                    .iter()
                    .map(|&(_, token_end)| {
                        let new = token_end.saturating_sub(end);
                        end += new;
                        new as u32
                    })
                    .collect();
                if let Some(last) = bytes.last_mut() {
                    *last += (text.len() - end.min(text.len())) as u32;
                }
                Covered {
                    ids: encoding.get_ids().to_vec(),
                    bytes,
                }
            });
            Ok(covered.collect())
        })
    }

    /// Runs through `inputs` in pieces that bound what the encodings, some hundred bytes a token, take at a time.
    fn in_chunks<I, T>(
        &self,
        inputs: &[I],
        encode: impl Fn(&[I]) -> tokenizers::Result<Vec<T>>,
    ) -> Result<Vec<T>, DataError> {
        const CHUNK: usize = 512;
        let mut all = Vec::with_capacity(inputs.len());
        for chunk in inputs.chunks(CHUNK) {
            all.extend(encode(chunk).map_err(|error| problem(&self.path, error.to_string()))?);
        }
        Ok(all)
    }

    fn fitting(&self, max_length: usize) -> Result<Fitting, DataError> {
        let special = self.special_in_a_row()?;
        if max_length <= special {
            return Err(DataError::MaxLength {
                max_length,
                special,
            });
        }
        let mut inner = self.inner.clone();
        inner
            .with_truncation(Some(TruncationParams {
                max_length,
                ..Default::default()
            }))
            .map_err(|error| problem(&self.path, error.to_string()))?;
        Ok(Fitting { inner, special })
    }

    /// Token ids of the whole of a text, special tokens included.
    ///
    /// # Errors
    /// When the tokenizer fails on it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoded = self.inner.encode_fast(text, true);
        let encoded = encoded.map_err(|error| problem(&self.path, error.to_string()))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// Turns tokens to text as they come.
    pub fn text_stream(&self) -> TextStream<'_> {
        TextStream::new(&self.inner, &self.path)
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |&largest| largest as usize + 1)
    }

    /// The file that it is from, for messages.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.path
    }

    /// The sha256 of the tokenizer's JSON, in hexadecimal; of a `vocab.txt`, of the JSON that stands for it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The ids that are no text.
    pub fn special_tokens(&self) -> SpecialTokens {
        let added = self.inner.get_added_tokens_decoder();
        let mut all: Vec<u32> = added
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        all.sort_unstable();
        SpecialTokens {
            mask: ["[MASK]", "<mask>"]
                .into_iter()
                .find_map(|name| self.inner.token_to_id(name)),
            all,
        }
    }

    /// How many special tokens stand around each text.
    fn special_in_a_row(&self) -> Result<usize, DataError> {
        let empty = self
            .inner
            .encode_fast("", true)
            .map_err(|error| problem(&self.path, error.to_string()))?;
        Ok(empty.get_ids().len())
    }
}

/// What a template of special tokens places and has not.
fn misplaced(processor: &Value) -> Option<String> {
    let several = processor["processors"].as_array();
    if let Some(within) = several.into_iter().flatten().find_map(misplaced) {
        return Some(within);
    }
    let pieces = |template: &str| processor[template].as_array().into_iter().flatten();
    let mut single = pieces("single");
    if single.any(|piece| piece["Sequence"]["id"] == "B") {
        return Some("a second text where there is one".to_owned());
    }
    let tokens = pieces("single").chain(pieces("pair"));
    let mut tokens = tokens.filter_map(|piece| piece["SpecialToken"]["id"].as_str());
    tokens
        .find(|token| processor["special_tokens"].get(token).is_none())
        .map(|token| format!("`{token}`, which is not among its special_tokens"))
}

fn problem(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::Tokenizer {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// What `tokenizer_config.json` says; nothing when it is not there.
fn read_config(folder: &Path) -> Result<Map<String, Value>, DataError> {
    let path = folder.join("tokenizer_config.json");
    match read_if_there(&path)? {
        None => Ok(Map::new()),
        Some(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| problem(&path, error.to_string()))
        }
    }
}

/// The `tokenizer.json` that Hugging Face makes of a BERT `vocab.txt`.
fn wordpiece(
    tokens: &[&str],
    config: &Map<String, Value>,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let mut seen = HashSet::new();
    if let Some((line, token)) = (1..).zip(tokens).find(|(_, token)| !seen.insert(**token)) {
        return Err(problem(
            path,
            format!("line {line} repeats the token `{token}`"),
        ));
    }
    let id = |token: &str| {
        let at = tokens.iter().position(|other| *other == token);
        at.ok_or_else(|| problem(path, format!("it has no line `{token}`")))
    };
    let added: Vec<Value> = SPECIAL
        .iter()
        .map(|token| {
            Ok(
                json!({"id": id(token)?, "content": token, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false}),
            )
        })
        .collect::<Result<_, DataError>>()?;
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let vocabulary: Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), id.into()))
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": flag("strip_accents"),
            "lowercase": flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", id("[SEP]")?], "cls": ["[CLS]", id("[CLS]")?]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    });
    Ok(tokenizer.to_string().into_bytes())
}

/// The `tokenizer.json` that Hugging Face makes of a `vocab.json` and a `merges.txt`: GPT-2's or, where the vocabulary
/// has `RoBERTa`'s special tokens, that of `RoBERTa`.
fn byte_level(
    vocab: &[u8],
    merges: &[u8],
    config: &Map<String, Value>,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    let vocab: Map<String, Value> =
        serde_json::from_slice(vocab).map_err(|error| problem(path, error.to_string()))?;
    let merges = str::from_utf8(merges)
        .map_err(|_| problem(&path.with_file_name("merges.txt"), "it is not UTF-8"))?;
    let merges = merges.lines().filter(|line| !line.starts_with("#version"));
    let merges: Vec<Value> = merges
        .filter_map(|line| line.split_once(' '))
        .map(|(first, second)| json!([first, second]))
        .collect();
    let special = |token: &&str| vocab.contains_key(*token);
    let added: Vec<Value> = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
        .iter()
        .filter(|token| special(token))
        .map(|token| {
            json!({"id": vocab[*token], "content": token, "special": true, "single_word": false,
            "lstrip": *token == "<mask>", "rstrip": false, "normalized": false})
        })
        .collect();
    let prefix = config
        .get("add_prefix_space")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let post_processor = match (vocab.get("<s>"), vocab.get("</s>")) {
        (Some(start), Some(end)) => json!({"type": "RobertaProcessing", "sep": ["</s>", end],
            "cls": ["<s>", start], "trim_offsets": true, "add_prefix_space": prefix}),
        _ => {
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true})
        }
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true},
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocab,
            "merges": merges,
        },
    });
    Ok(tokenizer.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::data::builtin_vocabulary;

    fn builtin() -> Tokenizer {
        Tokenizer::from_vocabulary(&builtin_vocabulary()).unwrap()
    }

    fn ids(encoded: &[Encoded]) -> Vec<Vec<u32>> {
        encoded.iter().map(|encoded| encoded.ids.clone()).collect()
    }

    fn words(tokenizer: &Tokenizer, encoded: &Encoded) -> Vec<String> {
        encoded
            .ids
            .iter()
            .map(|&id| tokenizer.inner.id_to_token(id).unwrap())
            .collect()
    }

    #[test]
    fn special_tokens_stand_around_text_also_when_it_is_cut() {
        let tokenizer = builtin();
        let ids = tokenizer
            .encode_batch(&["The chef, baked.", "the the the the the the", ""], 6)
            .unwrap();
        assert_eq!(
            words(&tokenizer, &ids[0]),
            ["[CLS]", "the", "chef", ",", "baked", "[SEP]"]
        );
        assert_eq!(
            words(&tokenizer, &ids[1]),
            ["[CLS]", "the", "the", "the", "the", "[SEP]"]
        );
        assert_eq!(words(&tokenizer, &ids[2]), ["[CLS]", "[SEP]"]);
        assert_eq!([ids[0].length, ids[1].length, ids[2].length], [7, 8, 2]);
        let long = tokenizer.encode_batch(&["the ".repeat(500)], 6).unwrap();
        assert_eq!((long[0].ids.len(), long[0].length), (6, 502));
        assert_eq!(tokenizer.vocab_size(), builtin_vocabulary().len());
        assert_eq!(
            tokenizer.special_tokens(),
            SpecialTokens {
                mask: Some(4),
                all: vec![0, 1, 2, 3, 4]
            }
        );
        assert_eq!(
            tokenizer.encode_batch(&["a"], 2).unwrap_err().to_string(),
            "max_length 2 leaves no room for text: the tokenizer adds 2 special tokens"
        );
    }

    #[test]
    fn a_folder_may_hold_vocab_txt() {
        let folder = tempfile::tempdir().unwrap();
        let fails = || Tokenizer::open(folder.path()).err().unwrap().to_string();
        assert!(
            fails().starts_with(
                "no tokenizer.json, no vocab.json with merges.txt and no vocab.txt in "
            )
        );
        std::fs::write(
            folder.path().join("vocab.txt"),
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n",
        )
        .unwrap();
        assert!(fails().ends_with("it has no line `[MASK]`"));
        std::fs::write(
            folder.path().join("vocab.txt"),
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nA\na\n",
        )
        .unwrap();
        assert!(fails().ends_with("line 8 repeats the token `a`"));
        std::fs::write(
            folder.path().join("vocab.txt"),
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nA\n",
        )
        .unwrap();
        let found = || {
            let tokenizer = Tokenizer::open(folder.path()).unwrap();
            ids(&tokenizer.encode_batch(&["A a"], 8).unwrap())
        };
        assert_eq!(found(), [[2, 5, 5, 3]]);
        std::fs::write(
            folder.path().join("tokenizer_config.json"),
            r#"{"do_lower_case": false}"#,
        )
        .unwrap();
        assert_eq!(found(), [[2, 6, 5, 3]]);
        std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
        assert!(fails().contains("tokenizer.json: "));
    }

    /// `references/tokenizer.json` is made by `scripts/references/tokenizer.py`.
    #[test]
    fn ids_are_those_of_transformers() {
        let reference: Value =
            serde_json::from_str(include_str!("references/tokenizer.json")).unwrap();
        let strings =
            |key: &str| -> Vec<String> { serde_json::from_value(reference[key].clone()).unwrap() };
        let tokenizer = Tokenizer::from_vocabulary(&strings("vocabulary")).unwrap();
        let max_length = reference["max_length"].as_u64().unwrap() as usize;
        let expected: Vec<Vec<u32>> = serde_json::from_value(reference["ids"].clone()).unwrap();
        let encoded = tokenizer.encode_batch(&strings("texts"), max_length);
        assert_eq!(ids(&encoded.unwrap()), expected);
    }

    /// `references/minilm_ag_news.json` is made by `scripts/references/tokenizer.py`.
    #[test]
    fn minilm_gives_transformers_ids_on_ag_news() {
        let (Some(data), Some(models)) = (
            std::env::var_os("LORAHOST_TEST_DATA"),
            std::env::var_os("LORAHOST_TEST_MODELS"),
        ) else {
            // Past the capture of passing tests.
            writeln!(
                std::io::stderr().lock(),
                "skipped minilm_gives_transformers_ids_on_ag_news: \
                 LORAHOST_TEST_DATA or LORAHOST_TEST_MODELS is not set"
            )
            .unwrap();
            return;
        };
        let reference: Value =
            serde_json::from_str(include_str!("references/minilm_ag_news.json")).unwrap();
        let lengths: Vec<usize> = serde_json::from_value(reference["lengths"].clone()).unwrap();
        let spec = crate::spec::DataSpec {
            path: Some(Path::new(&data).join("ag_news").display().to_string()),
            test_size: Some(lengths.len()),
            ..crate::data::load::test_spec()
        };
        let text = crate::data::load_text(&spec).unwrap();
        let texts = crate::data::tokenise::texts(&text.test);
        let check = |folder: &Path| {
            let tokenizer = Tokenizer::open(folder).unwrap();
            assert_eq!(tokenizer.vocab_size(), 30_522);
            let ids = ids(&tokenizer.encode_batch(&texts, 64).unwrap());
            assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
            let bytes: Vec<u8> = ids
                .iter()
                .flatten()
                .flat_map(|id| id.to_le_bytes())
                .collect();
            assert_eq!(sha256(&bytes), reference["sha256"]);
        };
        let folder = Path::new(&models).join("all-MiniLM-L6-v2");
        check(&folder);
        let vocab_only = tempfile::tempdir().unwrap();
        std::fs::copy(
            folder.join("vocab.txt"),
            vocab_only.path().join("vocab.txt"),
        )
        .unwrap();
        check(vocab_only.path());
    }

    /// The letters of "low" and "er", which merge, and a space as byte-level BPE writes it.
    fn byte_level_folder(special: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tokens = ["l", "o", "w", "e", "r", "Ġ", "Ċ", "lo", "low", "er", "Ġlow"];
        let vocab: Map<String, Value> = tokens
            .iter()
            .chain(special)
            .enumerate()
            .map(|(id, token)| ((*token).to_owned(), id.into()))
            .collect();
        let vocab = Value::Object(vocab).to_string();
        std::fs::write(folder.path().join("vocab.json"), vocab).unwrap();
        let merges = "#version: 0.2\nl o\nlo w\ne r\nĠ low\n";
        std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
        folder
    }

    #[test]
    fn a_folder_may_hold_byte_level_bpe() {
        let folder = byte_level_folder(&["<|endoftext|>"]);
        let gpt2 = Tokenizer::open(folder.path()).unwrap();
        assert_eq!(gpt2.special_tokens().all, [11]);
        let covered = gpt2.encode_whole(&["lower  low\n", ""]).unwrap();
        assert_eq!(covered[0].ids, [8, 9, 5, 10, 6]);
        assert_eq!(covered[0].bytes.iter().sum::<u32>(), 11);
        assert_eq!((covered[1].ids.len(), covered[1].bytes.len()), (0, 0));
        // Each word of a list is one with a space before it.
        let words = ["low", "low"].map(str::to_owned);
        let (encoded, of) = gpt2.encode_words(&[&words], 8).unwrap().remove(0);
        assert_eq!((encoded.ids, of), (vec![10, 10], vec![Some(0), Some(1)]));

        let folder = byte_level_folder(&["<s>", "</s>", "<mask>"]);
        let roberta = Tokenizer::open(folder.path()).unwrap();
        assert_eq!(
            ids(&roberta.encode_batch(&["low"], 8).unwrap()),
            [[11, 8, 12]]
        );
        assert_eq!(roberta.special_tokens().mask, Some(13));
        let (_, of) = roberta.encode_words(&[&words], 8).unwrap().remove(0);
        assert_eq!(of, [None, Some(0), Some(1), None]);
    }

    #[test]
    fn all_bytes_of_a_text_are_its_tokens() {
        let texts = ["The chef, baked.", "  é ü 🙂 中 ", "the", "\n\n"];
        for (text, covered) in texts.iter().zip(builtin().encode_whole(&texts).unwrap()) {
            assert_eq!(covered.bytes.len(), covered.ids.len());
            assert_eq!(
                covered.bytes.iter().sum::<u32>() as usize,
                text.len(),
                "{text:?}"
            );
        }
    }
}
