r"""What runs inside Redis, so that a photo's documents and all indexes change at once.

Keys, all under ``facekit:<dataset>:`` (the name percent-encoded):

==========================  ==========  =========================================================
``meta``                    hash        ``folder``, ``journal``, ``offset``
``image:<id>``              document    one image
``annotation:<id>:<n>``     document    the n-th face of the image
``category:<name>``         document    one category (its name percent-encoded)
``photos``                  sorted set  paths, all of score 0: in the order of their bytes
``photos:digest``           hash        path -> digest
``photos:faces``            sorted set  path, by faces
``folders:photos``          hash        folder -> photos
``folders:faces``           hash        folder -> faces
``faces:score``             sorted set  face, by score
``faces:turn``              sorted set  face, by its angle from upright
``categories``              set         names (percent-encoded)
``faces:category:<name>``   sorted set  the faces of a category, by score
==========================  ==========  =========================================================

A face is ``<path>\0<number of six digits>``. Sorted sets hold negative values, so that Redis' own
order, by value and then by bytes, is the order of the answers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from facekit.store.documents import Change, folder_of, image_id

BEGIN = """
local meta = ARGV[1] .. 'meta'
local found = redis.call('HMGET', meta, 'folder', 'journal', 'offset')
local offset = '0'
if found[1] then
  if found[2] == ARGV[4] then
    offset = found[3]
  elseif found[1] ~= ARGV[3] then
    return {0, found[1]}
  end
end
redis.call('HSET', meta, 'folder', ARGV[3], 'journal', ARGV[4], 'offset', offset)
redis.call('SADD', KEYS[1], ARGV[2])
return {1, offset}
"""
"""KEYS: the set of datasets. ARGV: prefix, dataset, folder, journal."""

APPLY = """
local prefix, form = ARGV[1], ARGV[2]
local meta = prefix .. 'meta'
local found = redis.call('HMGET', meta, 'journal', 'offset')
if found[1] ~= ARGV[3] or found[2] ~= ARGV[4] then return 0 end

local function write(name, document)
  if form == 'json' then
    redis.call('JSON.SET', prefix .. name, '$', document)
  else
    redis.call('SET', prefix .. name, document)
  end
end

local function count(folder, photos, faces)
  if redis.call('HINCRBY', prefix .. 'folders:photos', folder, photos) == 0 then
    redis.call('HDEL', prefix .. 'folders:photos', folder)
    redis.call('HDEL', prefix .. 'folders:faces', folder)
  else
    redis.call('HINCRBY', prefix .. 'folders:faces', folder, faces)
  end
end

local function remove(path, id, folder)
  local faces = redis.call('ZSCORE', prefix .. 'photos:faces', path)
  if not faces then return end
  faces = -tonumber(faces)
  local categories = redis.call('SMEMBERS', prefix .. 'categories')
  for number = 1, faces do
    local face = path .. '\\0' .. string.format('%06d', number)
    redis.call('DEL', prefix .. 'annotation:' .. id .. ':' .. number)
    redis.call('ZREM', prefix .. 'faces:score', face)
    redis.call('ZREM', prefix .. 'faces:turn', face)
    for _, name in ipairs(categories) do
      redis.call('ZREM', prefix .. 'faces:category:' .. name, face)
    end
  end
  redis.call('DEL', prefix .. 'image:' .. id)
  redis.call('ZREM', prefix .. 'photos', path)
  redis.call('ZREM', prefix .. 'photos:faces', path)
  redis.call('HDEL', prefix .. 'photos:digest', path)
  count(folder, -1, -faces)
end

local at = 7
local function take()
  at = at + 1
  return ARGV[at - 1]
end

while at <= #ARGV do
  local path, id, folder, digest = take(), take(), take(), take()
  remove(path, id, folder)
  if digest ~= '' then
    write('image:' .. id, take())
    local faces = tonumber(take())
    for number = 1, faces do
      local face = path .. '\\0' .. string.format('%06d', number)
      local document, score, turn, category = take(), take(), take(), take()
      write('annotation:' .. id .. ':' .. number, document)
      redis.call('ZADD', prefix .. 'faces:score', score, face)
      if turn ~= '' then redis.call('ZADD', prefix .. 'faces:turn', turn, face) end
      redis.call('ZADD', prefix .. 'faces:category:' .. category, score, face)
    end
    for _ = 1, tonumber(take()) do
      local name = take()
      redis.call('SADD', prefix .. 'categories', name)
      write('category:' .. name, take())
    end
    redis.call('ZADD', prefix .. 'photos', 0, path)
    redis.call('ZADD', prefix .. 'photos:faces', -faces, path)
    redis.call('HSET', prefix .. 'photos:digest', path, digest)
    count(folder, 1, faces)
  end
end

for _, name in ipairs(redis.call('SMEMBERS', prefix .. 'categories')) do
  if redis.call('EXISTS', prefix .. 'faces:category:' .. name) == 0 then
    redis.call('SREM', prefix .. 'categories', name)
    redis.call('DEL', prefix .. 'category:' .. name)
  end
end
redis.call('HSET', meta, 'journal', ARGV[5], 'offset', ARGV[6])
return 1
"""
"""KEYS: none, for most are found out inside.

ARGV: prefix, form of documents (``json`` or ``text``), journal and offset before and after; then
for each photo its path, id, folder and digest, which is "" for one that is removed. Otherwise there
follow its document; the number of faces, and for each its document, score, turn or "", and
category; the number of categories, and each one's name and document.
"""


def values_of(change: Change) -> list[Any]:
    """Return what :data:`APPLY` takes for one photo."""
    new = change.documents
    values: list[Any] = [change.photo, image_id(change.photo), folder_of(change.photo)]
    if new is None:
        return [*values, ""]
    values += [new.digest, new.image, len(new.faces)]
    for face in new.faces:
        turn = "" if face.turn_deg is None else repr(-face.turn_deg)
        values += [face.text, repr(-face.score), turn, quoted(face.category)]
    values.append(len(new.categories))
    for name, text in new.categories.items():
        values += [quoted(name), text]
    return values


def prefix_of(dataset: str) -> str:
    """Return what all keys of a dataset begin with."""
    return f"facekit:{quoted(dataset)}:"


def quoted(name: str) -> str:
    """Return a name as a part of a key."""
    return quote(name, safe="")
