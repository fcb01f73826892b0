//! Binds an image's documents to each other by digest: index → manifest → config → layer chains.
