//! A plugin of an ABI that this host does not speak: it is told apart by its manifest alone, before it is opened.

#![expect(unsafe_code, reason = "it goes around the SDK")]

/// Nothing but the ABI needs to be readable.
const JSON: &[u8; 33] = br#"{"abi":2,"parts":["from","2041"]}"#;

#[used]
#[unsafe(link_section = ".lorahost.manifest")]
static MANIFEST: [u8; 33] = *JSON;
