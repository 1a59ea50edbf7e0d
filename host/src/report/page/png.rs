//! Pictures of figures.

use std::fs;
use std::sync::{Arc, LazyLock};

use png::{ColorType, Compression, Encoder, EncodingError};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, FaceInfo, Family, Query, Source};
use resvg::usvg::{Options, Tree};

/// Families that figures look well in, best first.
const FAMILIES: [&str; 5] = [
    "DejaVu Sans",
    "Liberation Sans",
    "Noto Sans",
    "Arial",
    "Helvetica",
];

/// Pixels of a picture to one of the figure.
const SCALE: f32 = 2.0;

/// The machine's fonts; none where it has none.
static OPTIONS: LazyLock<Option<Options>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_system_fonts();
    let families = || fonts.faces().flat_map(|face| &face.families);
    let is_there = |wanted: &&str| families().any(|(family, _)| family == *wanted);
    let best = FAMILIES.into_iter().find(is_there).map(str::to_owned);
    let family = best.or_else(|| families().next().map(|(family, _)| family.clone()))?;
    fonts.set_sans_serif_family(&family);
    keep_in_memory(&mut fonts, &family);
    Some(Options {
        font_family: family,
        fontdb: Arc::new(fonts),
        ..Options::default()
    })
});

/// The file of a font is read several times a character, unless it is in memory.
fn keep_in_memory(fonts: &mut Database, family: &str) {
    let query = Query {
        families: &[Family::Name(family)],
        ..Query::default()
    };
    let face = fonts.query(&query).and_then(|id| fonts.face(id).cloned());
    if let Some(face) = face
        && let Source::File(path) = &face.source
        && let Ok(data) = fs::read(path)
    {
        fonts.remove_face(face.id);
        fonts.push_face_info(FaceInfo {
            source: Source::Binary(Arc::new(data)),
            ..face
        });
    }
}

/// Whether pictures can be made: the machine has a font.
pub fn has_fonts() -> bool {
    OPTIONS.is_some()
}

/// Why a figure has no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("this machine has no font")]
    NoFont,
    #[error(transparent)]
    Svg(#[from] resvg::usvg::Error),
    #[error("its size is {width} x {height}")]
    Size { width: u32, height: u32 },
    #[error("it cannot be encoded: {0}")]
    Encode(#[from] EncodingError),
}

/// The drawing as PNG, in the best font of this machine.
pub fn png(svg: &str) -> Result<Vec<u8>, PictureError> {
    let options = OPTIONS.as_ref().ok_or(PictureError::NoFont)?;
    let tree = Tree::from_str(svg, options)?;
    let size = tree.size().to_int_size();
    let (width, height) = (
        (size.width() as f32 * SCALE) as u32,
        (size.height() as f32 * SCALE) as u32,
    );
    let mut pixels = Pixmap::new(width, height).ok_or(PictureError::Size { width, height })?;
    resvg::render(
        &tree,
        Transform::from_scale(SCALE, SCALE),
        &mut pixels.as_mut(),
    );
    Ok(encode(&pixels)?)
}

/// Without transparency (a figure has its paper), and quickly: the encoder's default takes longer than all the rest.
fn encode(pixels: &Pixmap) -> Result<Vec<u8>, EncodingError> {
    let colours: Vec<u8> = pixels
        .data()
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, pixels.width(), pixels.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn() {
        if !has_fonts() {
            assert!(matches!(png("<svg/>"), Err(PictureError::NoFont)));
            return;
        }
        let svg = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"60\" height=\"20\"><style>text{{font-family:'DejaVu Sans',\
                 sans-serif;font-size:12px}}</style><rect width=\"60\" height=\"20\" fill=\"#fff\"/><text x=\"2\" y=\"15\">{text}</text></svg>"
            )
        };
        let empty = png(&svg("")).unwrap();
        assert_eq!(&empty[1..4], b"PNG");
        for text in ["lr 1e-4", "> 10"] {
            assert_ne!(png(&svg(text)).unwrap(), empty, "{text}");
        }
    }
}
