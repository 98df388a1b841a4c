// Writes one JSON object, a member at a time.

#ifndef TFSAL_CC_SERVE_JSON_H_
#define TFSAL_CC_SERVE_JSON_H_

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
  FILE* out;
  bool comma;  // the next member follows another
} Json;

// `key` is NULL for the outermost object and for the elements of an array.
// `bracket` is one of { [ and } ].
void JsonOpen(Json* json, const char* key, char bracket);
void JsonClose(Json* json, char bracket);
// A NULL text becomes null. Bytes that are not UTF-8 become U+FFFD.
void JsonText(Json* json, const char* key, const char* text);
void JsonInteger(Json* json, const char* key, int64_t value);
void JsonReal(Json* json, const char* key, double value);
void JsonBool(Json* json, const char* key, bool value);
// A dimension below zero is unknown and becomes null.
void JsonShape(Json* json, const char* key, int rank, const int64_t* dims);

#endif  // TFSAL_CC_SERVE_JSON_H_
