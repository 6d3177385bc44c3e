#include "transformer/block.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nibble {
namespace {

// Groups of linear layers, by index into ModelSpec::linears.
struct Group {
  int first, count;
};
Group qkv_group(const ModelSpec& spec) { return {0, spec.qkv_count()}; }
Group o_group(const ModelSpec& spec) { return {spec.o_index(), 1}; }
Group gate_up_group(const ModelSpec& spec) { return {spec.gate_index(), spec.gate_up_count()}; }
Group down_group(const ModelSpec& spec) { return {spec.down_index(), 1}; }

int64_t tail_of(const ModelSpec& spec, const LoraParameters* lora, int64_t layer, Group group) {
  if (!lora) return 0;
  int64_t rank = 0;
  for (int i = group.first; i < group.first + group.count; ++i)
    rank += lora->rank(static_cast<size_t>(layer) * spec.linears.size() + static_cast<size_t>(i));
  return LinearGroup::lora_tail(rank);
}

AttentionShape attention_shape(const ModelSpec& spec, int64_t layer) {
  return {spec.heads, spec.kv_heads, spec.head_dim,
          1 / std::sqrt(static_cast<float>(spec.head_dim)),
          spec.windows[static_cast<size_t>(layer)]};
}

// A group of one layer's linears with their adapters, its weights prepared for all tiles. Takes
// them in the caller's Arena::Scope.
class Linears {
 public:
  Linears(const BlockContext& context, const BlockWeights& weights, int64_t layer, Group group,
          int64_t rows, DType compute)
      : ops_(context.ops), tail_(tail_of(context.spec, context.lora, layer, group)) {
    const auto count = static_cast<size_t>(group.count);
    for (size_t j = 0; j < count; ++j) {
      const size_t i = static_cast<size_t>(group.first) + j;
      members_[j].weight = weights.linears[i];
      if (!context.lora) continue;
      const size_t module = static_cast<size_t>(layer) * context.spec.linears.size() + i;
      members_[j].lora = context.lora->adapter(module, context.training, context.dropout_step);
      if (context.training) members_[j].gradient = context.lora->gradient(module);
    }
    group_ = ops_.prepare({{members_.data(), count}}, rows, compute);
  }
  Linears(const Linears&) = delete;
  Linears& operator=(const Linears&) = delete;

  int64_t tail() const { return tail_; }
  // Of the rows of a batch from first_row on. y may be empty: only t is computed, if there is any.
  void forward(Tensor y, Tensor residual, Tensor x, int64_t first_row) const {
    if (y || tail_ > 0) ops_.lora_linear_forward(y, residual, x, at(first_row));
  }
  void backward(Tensor dx, Tensor dy, Tensor x, int64_t first_row) const {
    ops_.lora_linear_backward(dx, dy, x, at(first_row));
  }

 private:
  LinearGroup at(int64_t first_row) const {
    LinearGroup group = group_;
    group.first_row = first_row;
    return group;
  }
  Ops& ops_;
  int64_t tail_;
  std::array<LoraLinear, 3> members_;
  LinearGroup group_;
};

struct Tile {
  int64_t first, rows;
  Tensor of(Tensor whole) const { return whole.row_range(first, rows); }
  // Of the whole where it is kept, else the beginning of memory for one tile.
  Tensor of(Tensor whole, Tensor scratch) const {
    return whole ? of(whole) : scratch.row_range(0, rows);
  }
};

// Tiles as equal as possible, of multiples of 128 rows.
class Tiles {
 public:
  Tiles(int64_t rows, int64_t most) : rows_(rows) {
    const int64_t tiles = std::max<int64_t>(1, (rows + most - 1) / most);
    const int64_t equal = (rows + tiles - 1) / tiles;
    tile_ = tiles == 1 ? rows : std::min((equal + 127) / 128 * 128, rows);
  }
  int64_t rows() const { return tile_; }  // of all but the last
  template <typename Visit>
  void each(const Visit& visit) const {
    for (int64_t first = 0; first < rows_; first += tile_)
      visit(Tile{first, std::min(tile_, rows_ - first)});
  }

 private:
  int64_t rows_, tile_;
};

// A block at work on one batch. `a` has, besides what is kept, q, k, v, attention and lse of the
// whole batch, in the caller's Arena::Scope.
class Block {
 public:
  Block(const BlockContext& context, const BlockWeights& weights, int64_t layer, Tensor x,
        const BlockActivations& kept)
      : context_(context),
        spec_(context.spec),
        ops_(context.ops),
        arena_(context.ops.arena()),
        weights_(weights),
        layer_(layer),
        x_(x),
        tiles_(x.rows, context.ops.row_tile()),
        keeps_qkv_(kept.qkv),
        keeps_attention_(kept.attention),
        a_(BlockActivations::take(spec_, context.lora, layer, x.rows, x.dtype, Keep::qkv,
                                  MemoryUse::working_set, arena_, kept)) {}

  void forward(Tensor y, const KeyValueCache* cache);
  void backward(Tensor dx, bool input_gradient);

 private:
  Linears linears(Group group) const {
    return {context_, weights_, layer_, group, tiles_.rows(), x_.dtype};
  }
  Tensor make(int64_t rows, int64_t cols, const char* name, DType dtype) const {
    return arena_.tensor(rows, cols, dtype, MemoryUse::working_set, name);
  }
  Tensor make(int64_t rows, int64_t cols, const char* name) const {
    return make(rows, cols, name, x_.dtype);
  }
  // Memory for a tile of what is not kept.
  Tensor for_tile(Tensor kept, int64_t cols, const char* name, DType dtype) const {
    return kept ? Tensor{} : make(tiles_.rows(), cols, name, dtype);
  }
  Tensor for_tile(Tensor kept, int64_t cols, const char* name) const {
    return for_tile(kept, cols, name, x_.dtype);
  }
  // What lies between attention's output and the block's, of one tile; empty where it is kept.
  struct MlpTile {
    Tensor x_mid, h2, rstd2, gate_up, act;
  };
  MlpTile mlp_tile(const Linears& gate_up, const Linears& down) const {
    const int64_t hidden = spec_.hidden_size, mlp = spec_.intermediate_size;
    return {for_tile(a_.x_mid, hidden, "x_mid"), for_tile(a_.h2, hidden + gate_up.tail(), "h2"),
            for_tile(a_.rstd2, 1, "rstd2", DType::f32),
            for_tile(a_.gate_up, 2 * mlp + gate_up.tail(), "gate_up"),
            for_tile(a_.act, mlp + down.tail(), "act")};
  }
  Tensor q() const { return a_.q ? a_.q : a_.qkv.columns(0, spec_.q_size()); }
  Tensor k() const { return a_.k ? a_.k : a_.qkv.columns(spec_.q_size(), spec_.kv_size()); }
  Tensor v() const { return a_.qkv.columns(spec_.q_size() + spec_.kv_size(), spec_.kv_size()); }
  Tensor attention() const { return a_.attention.columns(0, spec_.q_size()); }

  void project_qkv();
  void attend(const KeyValueCache* cache);
  void mlp_backward(Tensor dx, Tensor dattention);
  void qkv_backward(Tensor dx, bool input_gradient, Tensor dqkv);

  const BlockContext& context_;
  const ModelSpec& spec_;
  Ops& ops_;
  Arena& arena_;
  const BlockWeights& weights_;
  const int64_t layer_;
  const Tensor x_;
  const Tiles tiles_;
  const bool keeps_qkv_, keeps_attention_;
  const BlockActivations a_;
};

void Block::project_qkv() {
  const Arena::Scope scope(arena_);
  const Linears qkv = linears(qkv_group(spec_));
  const int64_t hidden = spec_.hidden_size, nq = spec_.q_size(), nkv = spec_.kv_size();
  const Tensor h1 = for_tile(a_.h1, hidden + qkv.tail(), "h1");
  const Tensor rstd1 = for_tile(a_.rstd1, 1, "rstd1", DType::f32);
  tiles_.each([&](Tile tile) {
    const Tensor h = tile.of(a_.h1, h1);
    ops_.rms_norm_forward(h.columns(0, hidden), tile.of(a_.rstd1, rstd1), tile.of(x_),
                          weights_.input_norm, spec_.rms_norm_eps);
    qkv.forward(tile.of(a_.qkv), {}, h, tile.first);
  });
  if (spec_.qk_norm) {
    ops_.rms_norm_forward(a_.q, a_.q_rstd, a_.qkv.columns(0, nq), weights_.q_norm,
                          spec_.rms_norm_eps);
    ops_.rms_norm_forward(a_.k, a_.k_rstd, a_.qkv.columns(nq, nkv), weights_.k_norm,
                          spec_.rms_norm_eps);
  }
  ops_.rope_forward(q(), context_.batch.cos, context_.batch.sin, spec_.head_dim);
  ops_.rope_forward(k(), context_.batch.cos, context_.batch.sin, spec_.head_dim);
}

void Block::attend(const KeyValueCache* cache) {
  Tensor keys = k(), values = v();
  const Documents documents = context_.batch.documents();
  if (cache) {
    ops_.scatter_rows(cache->k, keys, context_.batch.positions);
    ops_.scatter_rows(cache->v, values, context_.batch.positions);
    keys = cache->k.row_range(0, documents.key_offsets.back());
    values = cache->v.row_range(0, documents.key_offsets.back());
  }
  ops_.attention_forward(attention(), a_.lse, q(), keys, values, documents,
                         attention_shape(spec_, layer_));
}

void Block::forward(Tensor y, const KeyValueCache* cache) {
  project_qkv();
  attend(cache);

  const Arena::Scope scope(arena_);
  const Linears o = linears(o_group(spec_)), gate_up = linears(gate_up_group(spec_)),
                down = linears(down_group(spec_));
  const int64_t hidden = spec_.hidden_size, mlp = spec_.intermediate_size;
  const MlpTile scratch = mlp_tile(gate_up, down);
  tiles_.each([&](Tile tile) {
    const Tensor middle = tile.of(a_.x_mid, scratch.x_mid), h = tile.of(a_.h2, scratch.h2);
    const Tensor both = tile.of(a_.gate_up, scratch.gate_up),
                 activated = tile.of(a_.act, scratch.act);
    o.forward(middle, tile.of(x_), tile.of(a_.attention), tile.first);
    ops_.rms_norm_forward(h.columns(0, hidden), tile.of(a_.rstd2, scratch.rstd2), middle,
                          weights_.post_attention_norm, spec_.rms_norm_eps);
    gate_up.forward(both.columns(0, 2 * mlp), {}, h, tile.first);
    ops_.gated_silu_forward(activated.columns(0, mlp), both.columns(0, mlp),
                            both.columns(mlp, mlp));
    down.forward(tile.of(y), middle, activated, tile.first);
  });
}

void Block::backward(Tensor dx, bool input_gradient) {
  if (!keeps_qkv_) project_qkv();
  if (!keeps_attention_) attend(nullptr);
  const int64_t nq = spec_.q_size(), nkv = spec_.kv_size();
  const Arena::Scope scope(arena_);
  const Tensor dattention = make(x_.rows, nq, "dattention");
  mlp_backward(dx, dattention);
  const int64_t tail = tail_of(spec_, context_.lora, layer_, qkv_group(spec_));
  const Tensor dqkv = make(x_.rows, nq + 2 * nkv + tail, "dqkv");
  const Tensor dq = dqkv.columns(0, nq), dk = dqkv.columns(nq, nkv);
  ops_.attention_backward(dq, dk, dqkv.columns(nq + nkv, nkv), dattention, attention(), a_.lse, q(),
                          k(), v(), context_.batch.documents(), attention_shape(spec_, layer_));
  ops_.rope_backward(dq, context_.batch.cos, context_.batch.sin, spec_.head_dim);
  ops_.rope_backward(dk, context_.batch.cos, context_.batch.sin, spec_.head_dim);
  if (spec_.qk_norm) {
    ops_.rms_norm_backward(dq, false, dq, a_.qkv.columns(0, nq), weights_.q_norm, a_.q_rstd);
    ops_.rms_norm_backward(dk, false, dk, a_.qkv.columns(nq, nkv), weights_.k_norm, a_.k_rstd);
  }
  qkv_backward(dx, input_gradient, dqkv);
}

// From dx, the gradient of y, to that of x_mid, in dx, and of attention.
void Block::mlp_backward(Tensor dx, Tensor dattention) {
  const Arena::Scope scope(arena_);
  const Linears o = linears(o_group(spec_)), gate_up = linears(gate_up_group(spec_)),
                down = linears(down_group(spec_));
  const int64_t hidden = spec_.hidden_size, mlp = spec_.intermediate_size;
  const MlpTile scratch = mlp_tile(gate_up, down);
  const Tensor dact = make(tiles_.rows(), mlp, "dact"), dh2 = make(tiles_.rows(), hidden, "dh2");
  tiles_.each([&](Tile tile) {
    const Tensor middle = tile.of(a_.x_mid, scratch.x_mid), h = tile.of(a_.h2, scratch.h2);
    const Tensor rstd = tile.of(a_.rstd2, scratch.rstd2);
    const Tensor both = tile.of(a_.gate_up, scratch.gate_up),
                 activated = tile.of(a_.act, scratch.act);
    const Tensor gate = both.columns(0, mlp), up = both.columns(mlp, mlp);
    const Tensor attended = tile.of(a_.attention);
    if (!a_.x_mid) o.forward(middle, tile.of(x_), attended, tile.first);
    if (!a_.h2) {
      ops_.rms_norm_forward(h.columns(0, hidden), rstd, middle, weights_.post_attention_norm,
                            spec_.rms_norm_eps);
      gate_up.forward(a_.gate_up ? Tensor{} : both.columns(0, 2 * mlp), {}, h, tile.first);
    }
    if (!a_.act) {
      ops_.gated_silu_forward(activated.columns(0, mlp), gate, up);
      down.forward({}, {}, activated, tile.first);
    }
    // The residual's gradient stays in dx.
    const Tensor dy = tile.of(dx), dactivated = dact.row_range(0, tile.rows),
                 dh = dh2.row_range(0, tile.rows);
    down.backward(dactivated, dy.columns(0, hidden + down.tail()), activated, tile.first);
    ops_.gated_silu_backward(gate, up, dactivated, gate, up);
    gate_up.backward(dh, both, h, tile.first);
    ops_.rms_norm_backward(dy.columns(0, hidden), true, dh, middle, weights_.post_attention_norm,
                           rstd);
    o.backward(tile.of(dattention), dy.columns(0, hidden + o.tail()), attended, tile.first);
  });
}

// Adds to dx what comes through q, k and v.
void Block::qkv_backward(Tensor dx, bool input_gradient, Tensor dqkv) {
  const Arena::Scope scope(arena_);
  const Linears qkv = linears(qkv_group(spec_));
  const int64_t hidden = spec_.hidden_size;
  const Tensor h1 = for_tile(a_.h1, hidden + qkv.tail(), "h1");
  const Tensor rstd1 = for_tile(a_.rstd1, 1, "rstd1", DType::f32);
  const Tensor dh1 = input_gradient ? make(tiles_.rows(), hidden, "dh1") : Tensor{};
  tiles_.each([&](Tile tile) {
    const Tensor h = tile.of(a_.h1, h1), rstd = tile.of(a_.rstd1, rstd1);
    if (!a_.h1) {
      ops_.rms_norm_forward(h.columns(0, hidden), rstd, tile.of(x_), weights_.input_norm,
                            spec_.rms_norm_eps);
      qkv.forward({}, {}, h, tile.first);
    }
    const Tensor dh = input_gradient ? dh1.row_range(0, tile.rows) : Tensor{};
    qkv.backward(dh, tile.of(dqkv), h, tile.first);
    if (input_gradient)
      ops_.rms_norm_backward(tile.of(dx).columns(0, hidden), true, dh, tile.of(x_),
                             weights_.input_norm, rstd);
  });
}

}  // namespace

int64_t gradient_tail(const ModelSpec& spec, const LoraParameters* lora) {
  int64_t tail = 0;
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    for (const Group group : {o_group(spec), down_group(spec)})
      tail = std::max(tail, tail_of(spec, lora, layer, group));
  return tail;
}

BlockActivations BlockActivations::take(const ModelSpec& spec, const LoraParameters* lora,
                                        int64_t layer, int64_t tokens, DType compute, Keep keep,
                                        MemoryUse use, Arena& arena,
                                        const BlockActivations& present) {
  BlockActivations a = present;
  const auto make = [&](Tensor& tensor, int64_t cols, DType dtype, const char* name) {
    if (!tensor) tensor = arena.tensor(tokens, cols, dtype, use, name);
  };
  const auto tail = [&](Group group) { return tail_of(spec, lora, layer, group); };
  const int64_t nq = spec.q_size(), nkv = spec.kv_size(), mlp = spec.intermediate_size;
  if (keep >= Keep::attention) {
    make(a.attention, nq + tail(o_group(spec)), compute, "attention");
    make(a.lse, spec.heads, DType::f32, "attention lse");
  }
  if (keep >= Keep::qkv) {
    make(a.qkv, nq + 2 * nkv, compute, "qkv");
    if (spec.qk_norm) {
      make(a.q, nq, compute, "q after norm");
      make(a.k, nkv, compute, "k after norm");
      make(a.q_rstd, spec.heads, DType::f32, "q rstd");
      make(a.k_rstd, spec.kv_heads, DType::f32, "k rstd");
    }
  }
  if (keep >= Keep::mlp_input) make(a.x_mid, spec.hidden_size, compute, "x_mid");
  if (keep >= Keep::gate_up)
    make(a.gate_up, 2 * mlp + tail(gate_up_group(spec)), compute, "gate_up");
  if (keep >= Keep::all) {
    make(a.h1, spec.hidden_size + tail(qkv_group(spec)), compute, "h1");
    make(a.rstd1, 1, DType::f32, "rstd1");
    make(a.h2, spec.hidden_size + tail(gate_up_group(spec)), compute, "h2");
    make(a.rstd2, 1, DType::f32, "rstd2");
    make(a.act, mlp + tail(down_group(spec)), compute, "act");
  }
  return a;
}

std::vector<Tensor> BlockActivations::tensors() const {
  std::vector<Tensor> all;
  for (const Tensor& tensor :
       {attention, lse, qkv, q, k, q_rstd, k_rstd, x_mid, gate_up, h1, h2, rstd1, rstd2, act})
    if (tensor) all.push_back(tensor);
  return all;
}

void block_forward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                   Tensor y, Tensor x, const BlockActivations& kept, const KeyValueCache* cache) {
  const Arena::Scope scope(context.ops.arena());
  Block(context, weights, layer, x, kept).forward(y, cache);
}

void block_backward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                    Tensor dx, bool input_gradient, Tensor x, const BlockActivations& kept) {
  const Arena::Scope scope(context.ops.arena());
  Block(context, weights, layer, x, kept).backward(dx, input_gradient);
}

}  // namespace nibble
