package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/poppobuilder/poppobuilder/internal/project"
)

func (h *handler) listProjects(w http.ResponseWriter, _ *http.Request) error {
	list := h.backend.Projects()
	if list == nil {
		list = []Project{}
	}
	return writeJSON(w, http.StatusOK, projectList{list})
}

func (h *handler) getProject(w http.ResponseWriter, r *http.Request) error {
	return h.writeProject(w, http.StatusOK, r.PathValue("id"))
}

func (h *handler) writeProject(w http.ResponseWriter, status int, id string) error {
	p, err := h.backend.Project(id)
	if err != nil {
		return err
	}
	return writeJSON(w, status, p)
}

func (h *handler) addProject(w http.ResponseWriter, r *http.Request) error {
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	p, err := decodeProject(o.raw())
	if err != nil {
		return err
	}
	if err := h.backend.AddProject(r.Context(), p); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/projects/"+url.PathEscape(p.ID))
	return h.writeProject(w, http.StatusCreated, p.ID)
}

func (h *handler) patchProject(w http.ResponseWriter, r *http.Request) error {
	patch, err := readObject(w, r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	err = h.backend.SetProject(r.Context(), id, func(p project.Project) (project.Project, error) {
		return patchProject(p, patch)
	})
	if err != nil {
		return err
	}
	return h.writeProject(w, http.StatusOK, id)
}

func (h *handler) deleteProject(w http.ResponseWriter, r *http.Request) error {
	err := h.backend.RemoveProject(r.Context(), r.PathValue("id"))
	waited(w, r)
	return noContent(w, err)
}

func (h *handler) runProject(w http.ResponseWriter, r *http.Request) error {
	args, err := runArgs(w, r)
	if err != nil {
		return err
	}
	run, err := h.backend.RunProject(r.Context(), r.PathValue("id"), args)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, run)
}

func (h *handler) cancelProject(w http.ResponseWriter, r *http.Request) error {
	run, err := h.backend.CancelProject(r.Context(), r.PathValue("id"))
	waited(w, r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, run)
}

// runArgs reads the optional body of a request for a run: {"args": [...]}.
func runArgs(w http.ResponseWriter, r *http.Request) ([]string, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	o, err := readObject(w, r)
	if err != nil {
		return nil, err
	}
	var order runOrder
	d := json.NewDecoder(bytes.NewReader(o.raw()))
	d.DisallowUnknownFields()
	if err := d.Decode(&order); err != nil {
		return nil, NewProblem(CodeBadRequest, fmt.Sprintf("%v: an object with \"args\", a list of strings, is allowed", err))
	}
	return order.Args, nil
}
