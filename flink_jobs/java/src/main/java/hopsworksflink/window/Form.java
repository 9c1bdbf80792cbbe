package hopsworksflink.window;

import java.io.IOException;
import java.io.Serializable;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** What lies where in a pane: parts, one behind the other. Panes of one form are made into those of another one. */
final class Form implements Serializable {
    private static final long serialVersionUID = 1L;

    /** What a part holds, in words that no other meaning has; its words, and the serializers of its objects. */
    record Part(String meaning, int words, TypeSerializer<?>[] objects) implements Serializable {}

    final String windows;
    /** How many lengths are aggregated: each has a total. */
    final int lengths;

    final Part[] parts;
    final int words;
    final int objects;
    private transient String text;
    /** The form that was converted last, and where each part is in it; -1: nowhere. */
    private transient Form known;

    private transient int[] places;

    /** @param windows that panes make, in words. */
    Form(String windows, int lengths, Part[] parts) {
        this.windows = windows;
        this.lengths = lengths;
        this.parts = parts;
        words = Arrays.stream(parts).mapToInt(Part::words).sum();
        objects = Arrays.stream(parts).mapToInt(part -> part.objects().length).sum();
    }

    Form duplicate() {
        Part[] own = parts.clone();
        for (int index = 0; index < own.length; index++) {
            TypeSerializer<?>[] serializers = own[index].objects().clone();
            Arrays.setAll(serializers, at -> serializers[at].duplicate());
            own[index] = new Part(own[index].meaning(), own[index].words(), serializers);
        }
        return new Form(windows, lengths, own);
    }

    /** Panes of another form in this one. Parts that it lacks are unknown in windows with the panes that there are. */
    Panes convert(Panes old) {
        if (known != old.form) {
            places = Arrays.stream(parts).mapToInt(part -> place(old.form, part)).toArray();
            known = old.form;
        }
        Panes panes = new Panes(this, Math.max(1, old.count));
        Pane from = new Pane();
        Pane into = new Pane();
        // Of windows that grow, the panes that have been emitted are in the total only.
        long last = old.due - 1;
        for (int at = 0; at < old.count; at++) {
            last = old.number(at);
            panes.append(last, into);
            old.get(at, from);
            copy(from, into);
        }
        panes.due = old.due;
        for (int length = 0; length < lengths; length++) {
            old.total(length, from);
            panes.total(length, into);
            copy(from, into);
        }
        for (int index = 0; index < parts.length; index++) {
            long unknown = places[index] < 0 ? last : old.unknown == null ? Long.MIN_VALUE : old.unknown[places[index]];
            if (unknown != Long.MIN_VALUE) {
                panes.unknown(index, unknown);
            }
        }
        return panes;
    }

    private static int place(Form old, Part part) {
        for (int index = 0; index < old.parts.length; index++) {
            if (old.parts[index].meaning().equals(part.meaning())) {
                return index;
            }
        }
        return -1;
    }

    private void copy(Pane from, Pane into) {
        int word = into.word;
        int object = 0;
        for (int index = 0; index < parts.length; index++) {
            int fromWord = from.word;
            int fromObject = 0;
            for (int before = 0; before < places[index]; before++) {
                fromWord += known.parts[before].words();
                fromObject += known.parts[before].objects().length;
            }
            if (places[index] >= 0) {
                System.arraycopy(from.words, fromWord, into.words, word, parts[index].words());
                for (int at = 0; at < parts[index].objects().length; at++) {
                    into.set(object + at, from.object(fromObject + at));
                }
            }
            word += parts[index].words();
            object += parts[index].objects().length;
        }
    }

    void write(DataOutputView target) throws IOException {
        target.writeUTF(windows);
        target.writeInt(lengths);
        target.writeInt(parts.length);
        for (Part part : parts) {
            target.writeUTF(part.meaning());
            target.writeInt(part.words());
            target.writeInt(part.objects().length);
            for (TypeSerializer<?> object : part.objects()) {
                TypeSerializerSnapshot.writeVersionedSnapshot(target, object.snapshotConfiguration());
            }
        }
    }

    static Form read(DataInputView source, ClassLoader loader) throws IOException {
        String windows = source.readUTF();
        int lengths = source.readInt();
        Part[] parts = new Part[source.readInt()];
        for (int index = 0; index < parts.length; index++) {
            String meaning = source.readUTF();
            int words = source.readInt();
            TypeSerializer<?>[] objects = new TypeSerializer<?>[source.readInt()];
            for (int at = 0; at < objects.length; at++) {
                objects[at] = TypeSerializerSnapshot.readVersionedSnapshot(source, loader).restoreSerializer();
            }
            parts[index] = new Part(meaning, words, objects);
        }
        return new Form(windows, lengths, parts);
    }

    /** Asked for each record: so the texts of equal forms are one and the same. */
    @Override
    public boolean equals(Object other) {
        return this == other || other instanceof Form form && form.toString() == toString();
    }

    @Override
    public int hashCode() {
        return toString().hashCode();
    }

    /** For people, and to tell forms apart. */
    @Override
    public String toString() {
        if (text == null) {
            String meanings = Arrays.stream(parts).map(Part::meaning).collect(Collectors.joining(", "));
            text = (windows + " with " + meanings).intern();
        }
        return text;
    }
}
