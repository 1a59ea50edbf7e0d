//! Pages of a Parquet column, checked for what the reader of the crate `parquet` takes for granted and would panic over.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// Passes on the pages of another reader.
pub(super) struct CheckedPages {
    inner: Box<dyn PageReader>,
    dictionary: bool,
}

impl CheckedPages {
    pub fn new(inner: Box<dyn PageReader>) -> Self {
        Self {
            inner,
            dictionary: false,
        }
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        match &page {
            Some(Page::DictionaryPage { .. }) => self.dictionary = true,
            Some(page) => {
                let by_dictionary = matches!(
                    page.encoding(),
                    Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY
                );
                if by_dictionary && !self.dictionary {
                    return Err(ParquetError::General(
                        "a page needs a dictionary, and there is none".to_owned(),
                    ));
                }
            }
            None => {}
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
