//! Reading an [`Argument`] that came over the boundary: every pointer, length and tag is looked at before it is
//! believed.

use std::ffi::c_void;
use std::fmt;

use super::tables::{Argument, tag};
use crate::sdk::Error;

/// An [`Argument`] whose tag, word and list were checked. Handles are still numbers: whether they are known is for
/// the table that they index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lifted<'a> {
    None,
    Tensor(u64),
    Tensors(&'a [u64]),
    /// 0 is none.
    OptionalTensors(&'a [u64]),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(&'a str),
    Ints(&'a [i64]),
    Floats(&'a [f64]),
    Bools(&'a [bool]),
    /// `c10::ScalarType`.
    Dtype(i32),
    Device {
        /// `c10::DeviceType`.
        kind: i32,
        /// -1 is the current device of that type.
        index: i32,
    },
    /// `c10::MemoryFormat`.
    MemoryFormat(i8),
    /// Name of a random stream.
    Stream(&'a str),
}

/// What is wrong with an [`Argument`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiftError {
    UnknownTag(u32),
    /// The word is not one that this tag may have.
    Word {
        tag: u32,
        word: u64,
    },
    /// A list of `len` elements without an address.
    Null {
        tag: u32,
        len: usize,
    },
    /// An address that elements of this size cannot have.
    Misaligned {
        tag: u32,
        align: usize,
    },
    /// More bytes than there is address space for.
    TooLong {
        tag: u32,
        len: usize,
    },
    /// A string that is not UTF-8 from this byte on.
    Utf8 {
        tag: u32,
        valid_up_to: usize,
    },
    /// A byte of a list of flags that is neither 0 nor 1.
    Flag {
        index: usize,
        value: u8,
    },
}

/// Reads an argument.
///
/// # Errors
/// When the tag is unknown, or word, address, length or content are not what the tag promises.
///
/// # Safety
/// Where the tag is one of a list or string and `len` is above 0, `data` is null, misaligned, or points to `len`
/// initialised elements of that tag's type that nobody changes while the result lives.
pub unsafe fn lift(argument: &Argument) -> Result<Lifted<'_>, LiftError> {
    let Argument {
        tag, word, data, ..
    } = *argument;
    let bad_word = LiftError::Word { tag, word };
    Ok(match tag {
        tag::NONE => Lifted::None,
        tag::TENSOR => Lifted::Tensor(word),
        // SAFETY: by this function's own contract.
        tag::TENSORS => Lifted::Tensors(unsafe { elements(argument, data)? }),
        // SAFETY: as above.
        tag::OPTIONAL_TENSORS => Lifted::OptionalTensors(unsafe { elements(argument, data)? }),
        tag::INT => Lifted::Int(word.cast_signed()),
        tag::FLOAT => Lifted::Float(f64::from_bits(word)),
        tag::BOOL => Lifted::Bool(match word {
            0 => false,
            1 => true,
            _ => return Err(bad_word),
        }),
        // SAFETY: as above.
        tag::STRING => Lifted::Str(unsafe { text(argument, data)? }),
        // SAFETY: as above.
        tag::INTS => Lifted::Ints(unsafe { elements(argument, data)? }),
        // SAFETY: as above.
        tag::FLOATS => Lifted::Floats(unsafe { elements(argument, data)? }),
        // SAFETY: as above.
        tag::BOOLS => Lifted::Bools(unsafe { flags(argument, data)? }),
        tag::DTYPE => Lifted::Dtype(u32::try_from(word).map_err(|_| bad_word)?.cast_signed()),
        tag::DEVICE => Lifted::Device {
            kind: half(word >> 32),
            index: half(word),
        },
        tag::MEMORY_FORMAT => {
            Lifted::MemoryFormat(u8::try_from(word).map_err(|_| bad_word)?.cast_signed())
        }
        // SAFETY: as above.
        tag::STREAM => Lifted::Stream(unsafe { text(argument, data)? }),
        unknown => return Err(LiftError::UnknownTag(unknown)),
    })
}

/// The lower half of a word.
fn half(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// # Safety
/// As [`lift`], for elements of type `T`, of which every bit pattern is a value.
unsafe fn elements<T>(argument: &Argument, data: *const c_void) -> Result<&[T], LiftError> {
    let Argument { tag, len, .. } = *argument;
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(LiftError::Null { tag, len });
    }
    let data = data.cast::<T>();
    if !data.is_aligned() {
        let align = align_of::<T>();
        return Err(LiftError::Misaligned { tag, align });
    }
    let end = len
        .checked_mul(size_of::<T>())
        .filter(|&size| isize::try_from(size).is_ok())
        .and_then(|size| data.addr().checked_add(size));
    if end.is_none() {
        return Err(LiftError::TooLong { tag, len });
    }
    // SAFETY: not null, aligned, no longer than an object may be; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// # Safety
/// As [`lift`].
unsafe fn text(argument: &Argument, data: *const c_void) -> Result<&str, LiftError> {
    // SAFETY: by this function's own contract.
    let bytes = unsafe { elements::<u8>(argument, data)? };
    std::str::from_utf8(bytes).map_err(|error| LiftError::Utf8 {
        tag: argument.tag,
        valid_up_to: error.valid_up_to(),
    })
}

/// # Safety
/// As [`lift`].
unsafe fn flags(argument: &Argument, data: *const c_void) -> Result<&[bool], LiftError> {
    // SAFETY: by this function's own contract.
    let bytes = unsafe { elements::<u8>(argument, data)? };
    if let Some(index) = bytes.iter().position(|&value| value > 1) {
        let value = bytes[index];
        return Err(LiftError::Flag { index, value });
    }
    // SAFETY: `bool` has the layout of `u8`, and every byte was seen to be 0 or 1.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
}

/// What a tag stands for, for messages.
fn tag_name(tag: u32) -> &'static str {
    match tag {
        tag::TENSORS => "list of tensors",
        tag::OPTIONAL_TENSORS => "list of optional tensors",
        tag::BOOL => "flag",
        tag::STRING => "string",
        tag::INTS => "list of integers",
        tag::FLOATS => "list of floats",
        tag::BOOLS => "list of flags",
        tag::DTYPE => "dtype",
        tag::MEMORY_FORMAT => "memory format",
        tag::STREAM => "name of a stream",
        _ => "value",
    }
}

impl fmt::Display for LiftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, what) = match *self {
            Self::UnknownTag(tag) => return write!(f, "an argument has the unknown tag {tag}"),
            Self::Word { tag, word } => (tag, format!("cannot be {word:#x}")),
            Self::Null { tag, len } => (tag, format!("has {len} elements at a null pointer")),
            Self::Misaligned { tag, align } => (tag, format!("is not aligned to {align} bytes")),
            Self::TooLong { tag, len } => (tag, format!("has {len} elements, beyond all memory")),
            Self::Utf8 { tag, valid_up_to } => (tag, format!("is not UTF-8 at byte {valid_up_to}")),
            Self::Flag { index, value } => (tag::BOOLS, format!("holds {value} at index {index}")),
        };
        write!(f, "an argument ({}) {what}", tag_name(tag))
    }
}

impl std::error::Error for LiftError {}

impl From<LiftError> for Error {
    fn from(error: LiftError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Argument, LiftError, Lifted, lift, tag};

    const WORD: Argument = Argument {
        tag: tag::NONE,
        word: 0,
        data: std::ptr::null(),
        len: 0,
    };

    fn word(tag: u32, word: u64) -> Argument {
        Argument { tag, word, ..WORD }
    }

    fn list<T>(tag: u32, list: &[T]) -> Argument {
        Argument {
            tag,
            data: list.as_ptr().cast(),
            len: list.len(),
            ..WORD
        }
    }

    /// Asserts what an argument is read as.
    fn reads(argument: &Argument, expected: Result<Lifted<'_>, LiftError>) {
        // SAFETY: the arguments of these tests point to their lists, or nowhere that `lift` would follow.
        assert_eq!(unsafe { lift(argument) }, expected);
    }

    #[test]
    fn words_are_read() {
        reads(&WORD, Ok(Lifted::None));
        reads(&word(tag::TENSOR, 7), Ok(Lifted::Tensor(7)));
        reads(&word(tag::INT, u64::MAX), Ok(Lifted::Int(-1)));
        reads(&word(tag::FLOAT, 0.5_f64.to_bits()), Ok(Lifted::Float(0.5)));
        reads(&word(tag::BOOL, 1), Ok(Lifted::Bool(true)));
        reads(&word(tag::DTYPE, 6), Ok(Lifted::Dtype(6)));
        let cuda = (1 << 32) | 0xffff_ffff;
        reads(
            &word(tag::DEVICE, cuda),
            Ok(Lifted::Device { kind: 1, index: -1 }),
        );
        reads(&word(tag::MEMORY_FORMAT, 2), Ok(Lifted::MemoryFormat(2)));
    }

    #[test]
    fn lists_are_read() {
        reads(
            &list(tag::TENSORS, &[1_u64, 2]),
            Ok(Lifted::Tensors(&[1, 2])),
        );
        reads(
            &list(tag::OPTIONAL_TENSORS, &[0_u64]),
            Ok(Lifted::OptionalTensors(&[0])),
        );
        reads(&list(tag::INTS, &[-3_i64]), Ok(Lifted::Ints(&[-3])));
        reads(&list(tag::FLOATS, &[1.5]), Ok(Lifted::Floats(&[1.5])));
        reads(
            &list(tag::BOOLS, &[1_u8, 0]),
            Ok(Lifted::Bools(&[true, false])),
        );
        reads(
            &list(tag::STRING, "tanh".as_bytes()),
            Ok(Lifted::Str("tanh")),
        );
        reads(&list(tag::STREAM, "A".as_bytes()), Ok(Lifted::Stream("A")));
        // An empty list needs no address, and one that it has is not followed.
        reads(&word(tag::INTS, 0), Ok(Lifted::Ints(&[])));
        let odd = Argument {
            tag: tag::INTS,
            data: std::ptr::without_provenance(3),
            ..WORD
        };
        reads(&odd, Ok(Lifted::Ints(&[])));
    }

    #[test]
    fn hostile_arguments_are_errors() {
        reads(&word(99, 0), Err(LiftError::UnknownTag(99)));
        reads(
            &word(tag::BOOL, 2),
            Err(LiftError::Word {
                tag: tag::BOOL,
                word: 2,
            }),
        );
        let wide = 1 << 40;
        for tag in [tag::DTYPE, tag::MEMORY_FORMAT] {
            reads(&word(tag, wide), Err(LiftError::Word { tag, word: wide }));
        }
        let tag = tag::INTS;
        let at = |address, len| Argument {
            tag,
            data: std::ptr::without_provenance(address),
            len,
            ..WORD
        };
        reads(&at(0, 4), Err(LiftError::Null { tag, len: 4 }));
        reads(&at(12, 1), Err(LiftError::Misaligned { tag, align: 8 }));
        for len in [usize::MAX, usize::MAX / 8, usize::MAX / 16 + 1] {
            reads(&at(16, len), Err(LiftError::TooLong { tag, len }));
        }
        let last = usize::MAX - 7;
        reads(&at(last, 2), Err(LiftError::TooLong { tag, len: 2 }));
        for tag in [tag::STRING, tag::STREAM] {
            let valid_up_to = 1;
            reads(
                &list(tag, b"a\xff"),
                Err(LiftError::Utf8 { tag, valid_up_to }),
            );
        }
        let (index, value) = (1, 2);
        reads(
            &list(tag::BOOLS, &[1_u8, 2]),
            Err(LiftError::Flag { index, value }),
        );
    }

    #[test]
    fn messages_say_what_was_found() {
        let error = LiftError::Null {
            tag: tag::STREAM,
            len: 3,
        };
        assert_eq!(
            error.to_string(),
            "an argument (name of a stream) has 3 elements at a null pointer"
        );
    }
}
