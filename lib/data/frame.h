/* frame: one checked record of a stream.
 *
 *   record = msgpack array [ tag | meta map | bin ... | crc ]      crc: CRC-32 of every byte before it, as CE + 4 bytes
 *
 * Maps become JSON values (jansson), so everybody above reads, changes and prints them with one library; msgpack's bin
 * and ext, which JSON lacks, become {"$bin": "hex"} and {"$ext": [type, "hex"]} and go back as they came. */
/* SPDX-License-Identifier: MIT */
#ifndef FRAME_H
#define FRAME_H

#include "base/err.h"
#include "base/io.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_BINS = 64,                /* columns in a record */
    FRAME_BYTES = 64 << 20,         /* a record */
    FRAME_HEADER = 1 << 20,         /* the map of a "SAES" record */
    FRAME_META = 64 << 10,          /* any other map */
    FRAME_ITEMS = 1 << 16,          /* values in one map */
    FRAME_DEPTH = 8,
};

struct frame {
    char tag[16];
    json_t *meta;
    size_t bins;
    struct {
        const uint8_t *data;        /* 64-byte aligned */
        size_t bytes;
    } bin[FRAME_BINS];
    size_t bytes;                   /* of the whole record */
    uint8_t *buf;                   /* private: payloads, and how much room and use there is */
    size_t cap, used;
    uint8_t *map;
    size_t map_cap;
};

/* Read the next record into f (zeroed before the first call; reused after). Returns 1, 0 at the end of the input between
 * records, -1 and a sentence when the record is damaged, cut short or beyond the limits. */
int frame_read(struct io_in *in, struct frame *f) ERR_CHECKED;
void frame_free(struct frame *f);

/* Write a record: meta (not consumed) and n payloads. Returns 0 or -1 and a sentence (with the output's name). */
int frame_write(struct io_out *out, const char *tag, const json_t *meta, const struct iovec *bin, size_t n) ERR_CHECKED;

#endif
